"""The page: one HTML file that asks for nothing beyond itself.

Whatever the crawl holds goes through jinja2's escaping into text and attributes, or as JSON into a
block that is data to the browser and that the script puts on the page as text. The content security
policy allows this page's one script and one stylesheet, by their hashes, and images from data
URIs: nothing that a file name or a caption could add runs or is fetched.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from dataclasses import replace
from functools import partial
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from curate.directions import DIRECTION
from curate.report import charts
from curate.report.absent import absent_sections
from curate.report.content import Content
from curate.report.ledger import Entry
from curate.report.options import MOST_BYTES
from curate.report.training import Curve

_FOLDER = "curate.report"
_ROOM_FOR_IDS = 200_000  # beside the thumbnails: their ids, quotes, and commas


def render(content: Content, most: int = MOST_BYTES) -> str:
    """Return the page as text, of so many bytes at most, by leaving out the last thumbnails."""
    bare = replace(content, thumbnails=content.thumbnails.within(0))
    room = most - len(_page(bare).encode())
    return _page(replace(content, thumbnails=content.thumbnails.within(room - _ROOM_FOR_IDS)))


def _page(content: Content) -> str:
    style, script = _asset("report.css"), _asset("report.js")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"short": charts.short, "share": _share, "duration": _duration}
    return environment.get_template("page.html.j2").render(
        c=content,
        absent=absent_sections(content),
        policy=_policy(style, script),
        style=Markup(style),
        script=Markup(script),
        data=Markup(_json(_data(content))),
        charts=charts,
        curves=_curves(content),
        levels=partial(_level, 9),
        direction=DIRECTION,
    )


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; "
        f"script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _asset(name: str) -> str:
    return (resources.files(_FOLDER) / "templates" / name).read_text("utf-8")


def _json(value: Any) -> str:
    """JSON in which no character ends the block that holds it."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _data(content: Content) -> dict[str, Any]:
    """What the script needs: ids are texts, for a number of JavaScript holds 53 bits."""
    manifests = content.scope.manifests
    numbers = {one.name: place for place, one in enumerate(manifests)}
    listed = {sample.manifest: set(sample.ids) for sample in content.samples}
    whys = sorted({entry.why for entry in content.entries})
    return {
        "manifests": [
            {
                "name": one.name,
                "pool": one.pool,
                "classes": {str(k): one.class_name(k) for k in _labels(content, one.name)},
                "most": sample.most,
                "condition": sample.condition,
            }
            for one, sample in zip(manifests, content.samples, strict=True)
        ],
        "whys": whys,
        "images": {
            one.id: [one.uri, one.places, one.width, one.height, one.format, one.bytes,
                     one.metadata]
            for one in content.images
        },
        "rows": [
            _row(entry, numbers[entry.manifest], whys.index(entry.why),
                 entry.image_id in listed[entry.manifest])
            for entry in content.entries
        ],
        "thumbs": {str(image): uri for image, uri in content.thumbnails.uris.items()},
        "originals": [str(i) for i in (content.originals.ids if content.originals else [])],
    }  # fmt: skip


def _labels(content: Content, manifest: str) -> list[int]:
    return sorted({entry.label for entry in content.entries if entry.manifest == manifest})


def _row(entry: Entry, manifest: int, why: int, listed: bool) -> list[Any]:
    return [
        manifest,
        str(entry.image_id),
        int(entry.selected),
        entry.rank,
        entry.label,
        entry.score,
        entry.threshold if entry.threshold is None else _finite(entry.threshold, 17),
        entry.weight,
        why,
        entry.reason,
        {name: _finite(value) for name, value in entry.components.items()},
        int(listed),
    ]


def _finite(value: float, digits: int = 6) -> float | None:
    """Round; JSON has no word for NaN and infinities."""
    return round(value, digits) if math.isfinite(value) else None


def _curves(content: Content) -> list[charts.Lines]:
    """One chart for each name that runs measured; the total first, and whole runs only."""
    order = [run.name for run in content.scope.runs]
    by_name: dict[str, list[Curve]] = {}
    for curve in content.curves:
        if len(curve.steps) > 1:
            by_name.setdefault(curve.name, []).append(curve)
    names = sorted(by_name, key=lambda name: (name not in ("total", "loss"), name))
    return [charts.curves(name, by_name[name], order) for name in names]


def _level(levels: int, share: float) -> int:
    """A step of a colour scale, 0 for nothing at all."""
    return 0 if share <= 0 else min(levels, 1 + int(share * levels))


def _share(part: float, whole: float) -> str:
    if not whole:
        return "0 %"
    value = 100 * part / whole
    return f"{value:.0f} %" if value >= 10 or value == 0 else f"{value:.1f} %"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
