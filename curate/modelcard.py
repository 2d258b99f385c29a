"""A student's model card, in the shape of Hugging Face's: what it is, and what it has seen.

Whatever comes from the crawl stands in code spans, in which Markdown reads no link and no HTML.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.directions import DIRECTION
from curate.measures import stored_measures
from curate.tables import one_row, rows_of
from index import __version__
from index.catalog import Catalog
from index.errors import UsageError, nearest
from index.files import atomic_path, check_target

# Where crawls say it; of an image at several places, what the first by name says.
LICENCE_KEYS = ("license", "licence", "License", "Licence", "LICENSE", "LICENCE", "license_url")
_LICENCES, _CLASSES, _LONGEST = 20, 20, 120


@dataclass(frozen=True)
class Carded:
    """A model card: of which run, where, the images that it counts, whether an older was `kept`."""

    run: str
    card: str
    images: int
    licences: dict[str, int]
    kept: bool = False


def write_model_card(catalog: Catalog, run: str, path: Path | None = None) -> Carded:
    """Write the model card of a finished run, beside its weights where no path is given.

    A card there that somebody went on with, as its licence asks for, stays as it is.

    Raises:
        UsageError: no finished run has this name, and the message gives the nearest; or no file
            can be written there.
    """
    facts = _facts(catalog, run)
    folder = catalog.workspace / "runs" / run
    target = path or folder / "README.md"
    if path is not None:
        check_target(path)
    licences, images = _licences(catalog, facts)
    measures = _measures(catalog, facts)
    text = "\n".join(_lines(facts, _evaluated_on(folder), licences, images, measures)) + "\n"
    if path is None and _is_edited(target):
        return Carded(run, str(target), images, dict(licences), kept=True)
    with atomic_path(target) as temporary:
        temporary.write_text(f"{text}{_mark(text)}", encoding="utf-8")
    return Carded(run, str(target), images, dict(licences))


def _mark(text: str) -> str:
    """A comment by which text is known as not edited since."""
    return f"\n<!-- kdcurate {hashlib.sha256(text.encode()).hexdigest()[:16]} -->\n"


def _is_edited(path: Path) -> bool:
    if not path.is_file():
        return False
    found = path.read_text("utf-8", errors="replace")
    text = found[: found.rfind("\n<!-- kdcurate ")]
    return found != text + _mark(text)


def code(value: object) -> str:
    """Show text as it is, in one line: no character of it is Markdown, HTML, or a command."""
    text = "".join(c if c.isprintable() else "�" for c in str(value))
    if len(text) > _LONGEST:
        text = text[: _LONGEST - 3] + "..."
    return f"`{text.replace('`', chr(39)).replace('|', chr(92) + '|') or ' '}`"


def _facts(catalog: Catalog, run: str) -> dict[str, Any]:
    with catalog.read() as connection:
        names = [row["name"] for row in rows_of(connection, "SELECT name FROM runs ORDER BY name")]
        if run not in names:
            there = nearest(run, names) if names else "train one with `kdcurate distill`"
            raise UsageError(f"no finished run is called {run!r}: {there}")
        facts = one_row(connection, _RUN, [run])
        rounds = rows_of(connection, "SELECT manifest FROM rounds WHERE run = ?", [run])
        facts["rounds"] = [row["manifest"] for row in rounds]
    return facts


def _licences(catalog: Catalog, facts: Mapping[str, Any]) -> tuple[list[tuple[str, int]], int]:
    """The most frequent licences of the images of all its manifests, and how many these are."""
    said = ", ".join(f"metadata->>'{key}'" for key in LICENCE_KEYS)
    seen = facts["rounds"] or [facts["manifest"]]
    with catalog.read() as connection:
        rows = list(rows_of(connection, _SEEN.format(said=said, most=_LICENCES), [seen]))
    first = [(row["licence"] or "not stated", row["images"]) for row in rows]
    images, kinds = (int(rows[0]["total"]), rows[0]["kinds"]) if rows else (0, 0)
    if kinds > len(first):
        told = sum(count for _, count in first)
        first.append((f"{kinds - len(rows):,} others", images - told))
    return first, images


def _measures(catalog: Catalog, facts: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return stored_measures(catalog, facts["manifest"]) if facts["manifest"] else ()


def _evaluated_on(folder: Path) -> str | None:
    """What the accuracy was measured on, without where that lies, or with which key it opens."""
    path = folder / "result.json"
    data = json.loads(path.read_text("utf-8")).get("evaluated_on") if path.is_file() else None
    if not data:
        return None
    name = str(data).partition("?")[0]
    return name if name.startswith("torchvision:") else Path(name).name or name


def _lines(
    facts: Mapping[str, Any],
    evaluated_on: str | None,
    licences: Sequence[tuple[str, int]],
    images: int,
    measures: Sequence[Mapping[str, Any]],
) -> Iterator[str]:
    yield from _front_matter(facts, evaluated_on)
    yield f"# {code(facts['name'])}"
    yield ""
    yield (
        f"A student of the teacher {code(facts['teacher'])}, trained by kdcurate {__version__} "
        f"with method {code(facts['method'])} on images without true labels: all that it knows of "
        "classes it has from its teacher."
    )
    yield ""
    yield from _table(("", ""), _summary(facts, evaluated_on))
    if images:
        yield from _seen(licences, images)
    if measures:
        yield from _shift(measures)
    yield from _USE


def _front_matter(facts: Mapping[str, Any], evaluated_on: str | None) -> Iterator[str]:
    """Yield YAML; JSON's strings are YAML's."""
    yield "---"
    yield "library_name: kdcurate"
    yield "pipeline_tag: image-classification"
    yield "license: unknown"
    yield "tags: [knowledge-distillation, kdcurate]"
    if facts["accuracy"] is not None:
        data = json.dumps(evaluated_on or "labelled images")
        yield "model-index:"
        yield f"- name: {json.dumps(facts['name'])}"
        yield "  results:"
        yield "  - task: {type: image-classification}"
        yield f"    dataset: {{name: {data}, type: {data}}}"
        yield f"    metrics: [{{type: accuracy, value: {facts['accuracy']}}}]"
    yield "---"


def _summary(facts: Mapping[str, Any], evaluated_on: str | None) -> Iterator[tuple[str, str]]:
    yield "architecture", code(facts["architecture"])
    yield "teacher", f"{code(facts['teacher'])}, {code(facts['teacher_architecture'])}"
    classes = facts["classes"] or []
    if classes:
        more = f" and {len(classes) - _CLASSES} more" if len(classes) > _CLASSES else ""
        yield "classes", f"{len(classes)}: {', '.join(map(code, classes[:_CLASSES]))}{more}"
    yield "input", code(json.dumps(json.loads(facts["card"])["input"]))
    if facts["manifest"]:
        yield "manifest", f"{code(facts['manifest'])}, SHA-256 {code(facts['content_hash'])}"
        yield "strategy", f"{code(facts['strategy'])}: {facts['selected']:,} of {facts['pool']:,}"
    if facts["rounds"]:
        yield "rounds", f"{len(facts['rounds'])}, each with a selection of its own"
    yield "training", f"{facts['steps']:,} steps, seed {facts['seed']}"
    if facts["accuracy"] is None:
        yield "accuracy", "not measured"
    else:
        yield "accuracy", f"{facts['accuracy']:.2%} on {code(evaluated_on or 'labelled images')}"


def _seen(licences: Sequence[tuple[str, int]], images: int) -> Iterator[str]:
    yield "## Images that it saw"
    yield ""
    yield (
        f"{images:,} images of a crawl. Licences as the crawl states them, of an image at several "
        "places the first; nobody checked them, and what they mean for a model is for you to judge."
    )
    yield ""
    yield from _table(
        ("licence", "images"), ((code(name), f"{count:,}") for name, count in licences)
    )


def _shift(measures: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "## How far these are from the teacher's own data"
    yield ""
    yield f"Beside the whole pool from which they were selected; {DIRECTION}."
    yield ""
    rows = ((m["measure"], f"{m['pool']:.4g}", f"{m['selected']:.4g}") for m in measures)
    yield from _table(("measure", "pool", "selected"), rows)


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


_USE = """\
## Use

```python
from distill.networks import load_network

network = load_network("student.toml")  # beside student.safetensors
```

It shares its teacher's mistakes. The weights' metadata hold the hashes of manifest and teacher.
""".splitlines()

_RUN = """
SELECT r.*, s.architecture, s.card, s.classes, t.architecture AS teacher_architecture,
       m.content_hash, m.strategy, m.pool, m.selected
FROM runs r JOIN models s ON s.key = r.student JOIN models t ON t.key = r.teacher
     LEFT JOIN manifests m ON m.name = r.manifest
WHERE r.name = ?
"""
_SEEN = """
WITH seen AS (
    SELECT DISTINCT image_id FROM decisions WHERE selected AND list_contains(?, manifest)
), places AS (
    SELECT image_id, arg_min_null(metadata, uri) AS metadata FROM (
        SELECT image_id, uri, metadata FROM locations UNION ALL
        SELECT image_id, uri, metadata FROM former_locations ANTI JOIN locations USING (image_id)
    ) WHERE image_id IN (FROM seen) GROUP BY image_id
)
SELECT licence, images, sum(images) OVER () AS total, count(*) OVER () AS kinds
FROM (SELECT nullif(trim(left(coalesce({said}), 200)), '') AS licence, count(*) AS images
      FROM seen LEFT JOIN places USING (image_id) GROUP BY licence)
ORDER BY images DESC, licence LIMIT {most}
"""
