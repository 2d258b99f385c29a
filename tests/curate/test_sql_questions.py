"""docs/sql.md: every query of it runs, and answers something, on a workspace that has it all."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from curate.comparing.grid import Row, Selection
from curate.comparing.records import Entry, record
from curate.manifest import get_manifest
from curate.networks import scored_pool
from curate.options import SelectOptions
from curate.query import run_query, sandbox
from curate.rounds import prepare_rounds
from curate.selection import select
from curate.setshift import update_set_shift
from distill.networks import load_network
from distill.options import TrainOptions
from distill.run import RunOptions, distill
from index.catalog import Catalog
from index.duplicates import find_by_hash
from index.progress import Silent

from .helpers import PROJECT, build, crawl_files, write_parquet

DOCUMENT = (PROJECT / "docs/sql.md").read_text("utf-8")
BLOCKS = re.findall(
    r"^\*\*(.+?)\*\*.*?^```sql\n(.+?)^```\n\n^```text\n(.+?)^```", DOCUMENT, re.M | re.S
)
GONE = 11


@pytest.fixture(scope="module")
def asked(teacher: str, student: str, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Two manifests, one with a student, and a run of two rounds, over a crawl with metadata."""
    folder = tmp_path_factory.mktemp("questions")
    files = list(crawl_files().values())
    rows = [(data, f"site-{n % 3}") for n, data in enumerate(files + files[:1] * GONE)]
    crawl = write_parquet(folder / "webpool_0.parquet", "image BLOB, source VARCHAR", rows)
    build(folder / "ws", [crawl])
    catalog = Catalog(folder / "ws")
    pool = scored_pool(catalog, teacher, student, workers=0)
    find_by_hash(catalog, 4, Silent())
    first = SelectOptions("kd3", budget=40, per_class=10, alpha=1.0)
    alone, network = scored_pool(catalog, teacher, workers=0), load_network(teacher)
    update_set_shift(alone, select(alone, "first", first), network, workers=0)
    where = "metadata->>'source' != 'site-1'"
    second = SelectOptions("kd3", budget=30, alpha=0.5, perceptual=4, where=where)
    update_set_shift(pool, select(pool, "second", second), network, workers=0)
    options = RunOptions(
        manifest="first",
        teacher=teacher,
        student="cifar:resnet8",
        method="kd",
        train=TrainOptions(max_steps=5, batch_size=8, rounds=2, device="cpu"),
        method_options={},
        workers=0,
    )
    rounds = prepare_rounds(catalog, options, network, Silent())
    done = distill(catalog, options, teacher=network, make_reselect=rounds)
    row = Row("kd", Selection("first", True, True), 2)
    entry = Entry("compare-12345678", "terms", row, 0, done.run, get_manifest(catalog, "first"))
    measured = replace(done, accuracy=0.5, evaluated_on="test.parquet")
    record(catalog, entry, measured, load_network(done.student))
    return catalog


def test_the_document_has_its_questions() -> None:
    assert len(BLOCKS) >= 20
    assert len(BLOCKS) == DOCUMENT.count("```sql")
    assert all(question.endswith("?") for question, _, _ in BLOCKS)


@pytest.mark.parametrize(
    ("text", "shown"), [pytest.param(*block[1:], id=block[0]) for block in BLOCKS]
)
def test_every_query_answers(asked: Catalog, text: str, shown: str) -> None:
    with sandbox(asked) as connection:
        found = run_query(connection, text)
        rows = [row for batch in found.batches for row in batch]
    assert rows != []
    assert shown.splitlines()[0].split() == found.columns
    assert len(shown.splitlines()) > 1
