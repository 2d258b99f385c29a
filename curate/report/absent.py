"""Why a section of the report has nothing to show, and what would give it something."""

from __future__ import annotations

from curate.report.content import Content

NO_STUDENT = "no student is trained yet: kdcurate distill"


def absent_sections(content: Content) -> dict[str, str]:
    """Return the reason for each section that is left out."""
    found = {
        "shifts": content.shifts,
        "agreement": content.agreements,
        "duplicates": content.groups,
        "teacher map": content.maps.teachers,
        "student map": content.maps.students,
        "methods": content.methods,
        "curves": [curve for curve in content.curves if len(curve.steps) > 1],
        "rounds": content.rounds,
        "scores": content.scores,
    }
    remarks = "; ".join(content.maps.remarks)
    reasons = {
        "shifts": "the teacher has no shift estimate: it has no BatchNorm layers, or select "
        "stored none",
        "agreement": remarks
        or "no student had a say and none is trained: kdcurate distill, or select --student",
        "duplicates": "no group is stored: nobody looked for any (kdcurate duplicates, select "
        "--near-duplicates or --perceptual), or there are none",
        "teacher map": remarks or "there are no features",
        "student map": (content.scope.runs and remarks) or NO_STUDENT,
        "methods": NO_STUDENT,
        "curves": "no run has measured anything yet" if content.scope.runs else NO_STUDENT,
        "rounds": "no run selected again as its student learned: kdcurate distill --rounds N",
        "scores": "no image was decided",
    }
    return {name: reasons[name] for name, there in found.items() if not there}
