"""The report's plots as PNG, drawn like the four figures of the KD3 paper's supplement.

1. students.png: t-SNE of student features for original, selected, and left images, a panel a run;
2. teachers.png: t-SNE of teacher features, original against selected images, a panel a manifest;
3. selected.png: what each manifest selected, class by class;
4. groups.png: original, selected, and left images of each manifest.

And scores.png, balance.png, and curves.png. A figure with nothing to show is not drawn.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from curate.directions import axis_label
from curate.report.content import Content
from curate.report.embedding import LEFT, ORIGINAL, SELECTED, Panel
from curate.report.grids import Grid
from curate.report.options import IMAGES_A_CELL
from index.errors import UsageError
from index.files import atomic_path, check_folder

# Okabe and Ito's; and another shape for each.
_LOOKS = {ORIGINAL: ("#0072b2", "^"), LEFT: ("#9a9a9a", "s"), SELECTED: ("#d55e00", "o")}
_SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8b9099")
_STYLES = ("-", "--", ":", "-.")
_DPI, _PANEL, _THUMB = 160, 4.0, 0.5
_LONGEST = 28  # characters of a label


def check_figures(folder: Path) -> None:
    """Check, before anything is computed, that figures can be drawn into this folder.

    Raises:
        UsageError: matplotlib is missing, or the folder is a file, or cannot be made.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--figures {folder} is a file: name a folder")
    check_folder(folder)
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageError("--figures needs matplotlib: pip install 'kdcurate[demo]'") from None


def draw_figures(content: Content, folder: Path) -> list[Path]:
    """Draw every figure that has something to show; return their files.

    Raises:
        WorkspaceError: the disk is full.
    """
    drawings: dict[str, Callable[[Content], Any]] = {
        "students": lambda c: _maps(c.maps.students, (ORIGINAL, LEFT, SELECTED)),
        "teachers": lambda c: _maps(c.maps.teachers, _of_teachers(c)),
        "selected": _selected,
        "groups": _groups,
        "scores": _scores,
        "balance": _balance,
        "curves": _curves,
    }
    files = []
    for name, draw in drawings.items():
        figure = draw(content)
        if figure is not None:
            files.append(folder / f"{name}.png")
            with atomic_path(files[-1]) as temporary:
                figure.savefig(temporary, format="png", dpi=_DPI, bbox_inches="tight")
    return files


def _figure(rows: int, columns: int, width: float, height: float) -> tuple[Any, list[Any]]:
    """Make panels without pyplot, which would keep every figure and may want a screen."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.flat)


def _of_teachers(content: Content) -> Sequence[str]:
    """As the supplement: originals against selected; without originals, left against selected."""
    return (ORIGINAL, SELECTED) if content.originals else (LEFT, SELECTED)


def _maps(panels: Sequence[Panel], groups: Sequence[str]) -> Any:
    if not panels:
        return None
    columns = 2 if len(panels) in (2, 4) else min(3, len(panels))
    figure, axes = _figure(-(-len(panels) // columns), columns, _PANEL, _PANEL)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    for axis, panel in zip(axes, panels, strict=False):
        for name in groups:
            ids, positions = panel.groups[name]
            if ids:
                colour, marker = _LOOKS[name]
                axis.scatter(
                    *positions.T, s=9, c=colour, marker=marker, linewidths=0, alpha=0.8, label=name
                )
        axis.set(title=_plain(panel.title), xticks=[], yticks=[])
        axis.legend(loc="best", fontsize=7, markerscale=1.8, framealpha=0.8)
    return figure


def _selected(content: Content) -> Any:
    """A column for each manifest."""
    return _grids(content, [[(grid, "selected") for grid in content.grids]])


def _groups(content: Content) -> Any:
    """A column for each group, the manifests one below the other."""
    cells = (ORIGINAL, SELECTED, LEFT) if content.originals else (SELECTED, LEFT)
    return _grids(content, [[(grid, cell) for cell in cells] for grid in content.grids])


def _grids(content: Content, blocks: Sequence[Sequence[tuple[Grid, str]]]) -> Any:
    """Draw blocks one below the other: a column for each pair, a row for each class."""
    if not any(grid.rows for block in blocks for grid, _ in block):
        return None
    heights = [max(len(grid.rows) for grid, _ in block) for block in blocks]
    width = IMAGES_A_CELL * _THUMB
    figure, axes = _figure(sum(heights), len(blocks[0]), width, _THUMB * 1.1)
    for axis in axes:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    first = 0
    for block, height in zip(blocks, heights, strict=True):
        for column, (grid, cell) in enumerate(block):
            mine = axes[first * len(block) + column :: len(block)][:height]
            _column(content, grid, cell, mine, named=column == 0)
        first += height
    return figure


def _column(content: Content, grid: Grid, cell: str, axes: Sequence[Any], *, named: bool) -> None:
    axes[0].set_title(_plain(f"{grid.manifest.name}: {cell}"), fontsize=9)
    for axis, row in zip(axes, grid.rows, strict=False):
        axis.imshow(_strip(content, getattr(row, cell)), interpolation="nearest")
        if named:
            axis.set_ylabel(_plain(row.name), rotation=0, ha="right", va="center", fontsize=8)


def _strip(content: Content, ids: Sequence[int], side: int = 64) -> Any:
    """Thumbnails side by side on white: (side, IMAGES_A_CELL * side, 3)."""
    sheet = Image.new("RGB", (IMAGES_A_CELL * side, side), "white")
    for place, image in enumerate(ids):
        uri = content.thumbnails.uris.get(image)
        if uri is not None:
            data = base64.b64decode(uri.partition(",")[2])
            with Image.open(io.BytesIO(data), formats=("WEBP",)) as picture:
                sheet.paste(picture.resize((side - 4, side - 4)), (place * side + 2, 2))
    return np.asarray(sheet)


def _scores(content: Content) -> Any:
    found = [*content.scores, *content.shifts]
    if not found:
        return None
    columns = min(4, len(found))
    figure, axes = _figure(-(-len(found) // columns), columns, 3.4, 2.6)
    for axis in axes[len(found) :]:
        axis.set_axis_off()
    for axis, one in zip(axes, found, strict=False):
        edges = np.linspace(one.low, one.high, len(one.selected) + 1)
        for name, counts in ((LEFT, one.left), (SELECTED, one.selected)):
            axis.stairs(counts, edges, fill=True, alpha=0.65, color=_LOOKS[name][0], label=name)
        for threshold in one.thresholds:
            axis.axvline(threshold.value, color="black", linewidth=0.5, alpha=0.5)
        axis.set_yscale("symlog", linthresh=1)
        axis.set_title(_plain(f"{one.manifest.name}: {one.what}"), fontsize=9)
        axis.set_xlabel(axis_label(one.what), fontsize=7)
        axis.tick_params(labelsize=7)
    axes[0].legend(fontsize=7)
    return figure


def _balance(content: Content) -> Any:
    figure, axes = _figure(1, len(content.balances), 4.6, 3.2)
    for axis, one in zip(axes, content.balances, strict=True):
        rows = [*one.classes, *([one.others] if one.others else [])]
        places = np.arange(len(rows))
        pool, taken = max(1, one.manifest.pool), max(1, one.manifest.selected)
        axis.bar(places - 0.2, [r.pool / pool for r in rows], 0.4, color="#9a9a9a", label="pool")
        shares = [r.selected / taken for r in rows]
        axis.bar(places + 0.2, shares, 0.4, color=_LOOKS[SELECTED][0], label="selected")
        axis.set_xticks(places, [_plain(r.name) for r in rows], rotation=60, ha="right", fontsize=7)
        axis.set(title=_plain(one.manifest.name), ylabel="share")
        axis.legend(fontsize=7)
    return figure


def _curves(content: Content) -> Any:
    names = list(dict.fromkeys(one.name for one in content.curves if len(one.steps) > 1))
    if not names:
        return None
    order = [run.name for run in content.scope.runs]
    columns = min(4, len(names))
    figure, axes = _figure(-(-len(names) // columns), columns, 3.4, 2.6)
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    for axis, name in zip(axes, names, strict=False):
        for one in content.curves:
            if one.name == name:
                number = order.index(one.run)
                look = {"color": _SERIES[number % 8], "linestyle": _STYLES[number % 4]}
                axis.plot(one.steps, one.values, label=_plain(one.run), **look)
        axis.set_title(_plain(name), fontsize=9)
        axis.tick_params(labelsize=7)
        axis.set_xlabel("step", fontsize=7)
    axes[0].legend(fontsize=6)
    return figure


def _plain(text: str) -> str:
    """Text between dollar signs is a formula to matplotlib; and a long name leaves no room."""
    shortened = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "\u2026"
    return shortened.replace("$", r"\$")
