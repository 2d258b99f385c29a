"""`kdcurate demo`: the whole story, offline, on data that it makes itself.

A teacher learns real handwritten digits, which are then deleted. A crawl is drawn: digits in
print and by hand, letters, symbols, photographs, copies, broken files. Two students learn from
the same number of its images, one from random ones, one from those that teacher and student
select. Every step that is done stays done when the demo is run again.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from curate.cli.output import TerminalProgress, note, print_table, program
from curate.demo.crawl import draw_crawl
from curate.demo.digits import SIDE, make_teacher_data
from curate.demo.teacher import train_teacher
from curate.networks import scored_pool
from curate.options import SelectOptions
from curate.rounds import prepare_rounds
from curate.selection import select
from distill.evaluation import evaluate
from distill.labelled import load_labelled
from distill.networks import load_embedder, load_network, register
from distill.options import TrainOptions
from distill.run import RunOptions, distill
from index.build import build_index
from index.catalog import Catalog
from index.database import connect
from index.errors import UsageError
from index.files import atomic_path

STUDENT = "cifar:resnet8"
BUDGET, STEPS, BATCH, ROUNDS = 1000, 300, 64, 5
_MARK = "kdcurate-demo.txt"

# Ready to paste: no shell needs more than the double quotes around them.
QUERIES = (
    "SELECT class_name AS digit, count(*) AS images, round(avg(score), 3) AS confidence FROM "
    "selected WHERE manifest = 'kd3' GROUP BY ALL ORDER BY digit",
    "SELECT why, count(*) AS images, any_value(reason) AS example FROM rejected WHERE "
    "manifest = 'kd3' GROUP BY ALL ORDER BY images DESC",
    "SELECT round, round(alpha, 2) AS teacher_share, selected, entered FROM rounds ORDER BY round",
)


@dataclass(frozen=True)
class Row:
    """One student: how its images were chosen, how many are digits, and how good it became."""

    selection: str
    images: int
    digits: float
    accuracy: float


def tell(folder: Path) -> None:
    """Make the data, run every step, print a table and three queries.

    Raises:
        UsageError: the folder holds something else, or the libraries of the extra are missing.
    """
    _claim(folder)
    progress = TerminalProgress()
    teacher, held_back = _teacher(folder, progress)
    crawl = _crawl(folder, progress)
    catalog = Catalog(folder / "workspace")
    _index(catalog, crawl, teacher, progress)
    rows = [
        _student(catalog, teacher, held_back, crawl, "random", 0, progress),
        _student(catalog, teacher, held_back, crawl, "kd3", ROUNDS, progress),
    ]
    _report(catalog, rows, _accuracy(teacher, held_back))


def _claim(folder: Path) -> None:
    """Work in a folder that is new, empty, or a demo's own."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--dir {folder} is a file: name a new folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / _MARK).is_file():
        raise UsageError(f"--dir {folder} holds something else: name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / _MARK) as temporary:
        temporary.write_text("Made by `kdcurate demo`; may be deleted.\n")


def _teacher(folder: Path, progress: TerminalProgress) -> tuple[Path, Path]:
    card, held_back = folder / "teacher" / "teacher.toml", folder / "held_back.parquet"
    if not (card.is_file() and held_back.is_file()):
        note("1. A teacher learns scikit-learn's handwritten digits, which are then deleted")
        original = make_teacher_data(folder / "original")
        train_teacher(original.train, card.parent, SIDE, progress)
        original.held_back.replace(held_back)
    shutil.rmtree(folder / "original", ignore_errors=True)
    return card, held_back


def _crawl(folder: Path, progress: TerminalProgress) -> Path:
    done = folder / "crawl"
    if not done.is_dir():
        note("2. A crawl is drawn: digits, letters, symbols, photographs, copies, broken files")
        unfinished = folder / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        draw_crawl(unfinished / "crawl")
        (unfinished / "truth.csv").replace(folder / "truth.csv")
        (unfinished / "crawl").replace(done)
        unfinished.rmdir()
    return done


def _index(catalog: Catalog, crawl: Path, teacher: Path, progress: TerminalProgress) -> None:
    note(f"3. kdcurate build-index {crawl} --embedder {teacher}")
    embedder = load_embedder(teacher)
    card = load_network(teacher).card
    register(catalog, embedder.key, card)
    found = build_index(catalog.workspace, [str(crawl)], embedder, progress=progress)
    note(
        f"   {found.images} images, {found.duplicates} exact copies, {found.failed} files that "
        "are no images"
    )


def _student(
    catalog: Catalog,
    teacher: Path,
    held_back: Path,
    crawl: Path,
    strategy: str,
    rounds: int,
    progress: TerminalProgress,
) -> Row:
    how = f" --rounds {rounds} --refresh full" if rounds else ""
    note(f"4. kdcurate select --strategy {strategy} --budget {BUDGET}; kdcurate distill{how}")
    options = SelectOptions(strategy=strategy, budget=BUDGET, near_duplicates=0.999)
    manifest = select(
        scored_pool(catalog, str(teacher), progress=progress), strategy, options, progress=progress
    )
    run = RunOptions(
        manifest=manifest.name,
        teacher=str(teacher),
        student=STUDENT,
        method="kd3",
        train=TrainOptions(
            max_steps=STEPS,
            batch_size=BATCH,
            rounds=rounds,
            refresh="full" if rounds else "lazy",  # rounds so far apart cost next to nothing
            augment="shift",
            device="cpu",
        ),
        method_options={},
        name=f"student-{strategy}",
        evaluate_on=str(held_back),
    )
    network = load_network(teacher)
    reselect = prepare_rounds(catalog, run, network, progress) if rounds else None
    done = distill(catalog, run, teacher=network, make_reselect=reselect, progress=progress)
    last = f"{done.run}/round-{rounds:03d}" if rounds else manifest.name
    images, digits = true_digits(catalog, last, crawl)
    label = f"{strategy}, {rounds} rounds" if rounds else strategy
    return Row(label, images, digits / images, done.accuracy or 0.0)


def true_digits(catalog: Catalog, manifest: str, crawl: Path) -> tuple[int, int]:
    """Count a manifest's images and, by the crawl's truth.csv, the digits among them."""
    prefix = str(crawl.absolute()) + "/"
    with catalog.read() as connection:
        found = connection.execute(
            "SELECT any_value(l.uri) AS uri FROM selected s JOIN locations l USING (image_id) "
            "WHERE s.manifest = ? GROUP BY image_id",
            [manifest],
        ).fetchall()
    names = {uri.removeprefix(prefix) for (uri,) in found}
    with connect() as connection:
        truth = connection.execute(
            "SELECT file FROM read_csv(?) WHERE digit IS NOT NULL",
            [str(crawl.parent / "truth.csv")],
        ).fetchall()
    return len(names), len(names & {file for (file,) in truth})


def _accuracy(teacher: Path, held_back: Path) -> float:
    network = load_network(teacher)
    return evaluate(network, load_labelled(str(held_back), network.card.input.view())).accuracy


def _report(catalog: Catalog, rows: list[Row], teacher_accuracy: float) -> None:
    columns = ("images chosen by", "images", "digits among them", "student", "teacher")
    table = [
        [
            row.selection,
            row.images,
            f"{row.digits:.1%}",
            f"{row.accuracy:.1%}",
            f"{teacher_accuracy:.1%}",
        ]
        for row in rows
    ]
    sys.stdout.write("\nAccuracy on held-back real digits\n\n")
    print_table(columns, table)
    sys.stdout.write("\nAsk why, in SQL:\n\n")
    typed, where = program(), shlex.quote(str(catalog.workspace))
    for query in QUERIES:
        sys.stdout.write(f'{typed} sql -w {where} "{query}"\n\n')
    note(f"To look at it, one HTML file: {typed} report -w {where} -o report.html")
    note(f"Now with your own teacher and crawl, by a file that says where they are: {typed} init")
