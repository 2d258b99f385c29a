"""Model cards: every figure is the catalog's, and nothing of a crawl becomes Markdown."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from curate.modelcard import code, write_model_card
from curate.options import SelectOptions
from curate.pool import Pool
from curate.selection import select
from index.catalog import Catalog
from index.errors import UsageError

from .conftest import Kdcurate

HOSTILE = "](https://evil.example) <script>alert(1)</script> `x` | y\n# heading\x1b[31m\u202e"


@pytest.fixture
def trained(pool: Pool) -> Catalog:
    """A workspace with a run of 12 images: 5 of one licence, 4 of a hostile one, 3 without."""
    catalog = pool.catalog
    made = select(pool, "first", SelectOptions("msp", budget=12))
    with catalog.write() as connection:
        ids = [
            key
            for (key,) in connection.execute(
                "SELECT image_id FROM decisions WHERE selected ORDER BY rank"
            ).fetchall()
        ]
        for place, key in enumerate(ids):
            said = {"license": "CC-BY 4.0"} if place < 5 else {"Licence": HOSTILE}
            metadata = json.dumps(said if place < 9 else {"caption": "none"})
            connection.execute(
                "UPDATE locations SET metadata = ? WHERE image_id = ?", [metadata, key]
            )
        connection.execute(
            "INSERT INTO runs (name, manifest, method, teacher, student, options, seed, steps, "
            "accuracy, seconds, code_version, finished_at) VALUES "
            "('one', 'first', 'kd', ?, ?, '{}', 7, 20, 0.8125, 1.5, '0', now())",
            [made.teacher, pool.student],
        )
    folder = catalog.workspace / "runs" / "one"
    folder.mkdir(parents=True)
    result = {"evaluated_on": "/home/someone/private/test.parquet"}
    (folder / "result.json").write_text(json.dumps(result))
    return catalog


def test_it_says_what_the_student_is_and_saw(trained: Catalog, pool: Pool) -> None:
    done = write_model_card(trained, "one")
    path = trained.workspace / "runs" / "one" / "README.md"
    text = path.read_text("utf-8")
    assert (done.card, done.images) == (str(path), 12)
    assert done.licences == {"CC-BY 4.0": 5, HOSTILE.strip(): 4, "not stated": 3}
    for said in (
        f"teacher | `{pool.teacher}`",
        "manifest | `first`",
        "20 steps, seed 7",
        "81.25% on `test.parquet`",
        "| `CC-BY 4.0` | 5 |",
        "| `not stated` | 3 |",
    ):
        assert said in text, said
    assert "/home/someone" not in text


def test_licences_of_images_that_are_gone_are_told(trained: Catalog, tmp_path: Path) -> None:
    before = Path(write_model_card(trained, "one", tmp_path / "before.md").card).read_text("utf-8")
    with trained.write() as connection:
        connection.execute(
            "INSERT INTO former_locations SELECT image_id, uri, metadata FROM locations"
        )
        connection.execute("DELETE FROM locations")
    after = Path(write_model_card(trained, "one", tmp_path / "after.md").card).read_text("utf-8")
    assert "| `CC-BY 4.0` | 5 |" in after
    assert after == before


def test_an_edited_card_stays(trained: Catalog, tmp_path: Path) -> None:
    path = Path(write_model_card(trained, "one").card)
    assert not write_model_card(trained, "one").kept  # nobody edited it
    edited = path.read_text("utf-8").replace("license: unknown", "license: mit")
    path.write_text(edited, "utf-8")
    assert write_model_card(trained, "one").kept and path.read_text("utf-8") == edited
    assert not write_model_card(trained, "one", tmp_path / "new.md").kept
    assert "license: unknown" in (tmp_path / "new.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("torchvision:CIFAR10?root=/home/someone/d", "torchvision:CIFAR10"),
        ("https://h/t.parquet?token=S3CRET", "t.parquet"),
    ],
)
def test_only_the_name_of_the_data_is_told(trained: Catalog, data: str, name: str) -> None:
    folder = trained.workspace / "runs" / "one"
    facts = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(facts | {"evaluated_on": data}))
    text = Path(write_model_card(trained, "one").card).read_text("utf-8")
    assert f"on `{name}`" in text and "someone" not in text and "S3CRET" not in text


def test_what_a_crawl_says_stays_text(trained: Catalog) -> None:
    path = Path(write_model_card(trained, "one").card)
    outside = re.sub(r"`[^`\n]*`", "", path.read_text("utf-8"))
    assert "evil" not in outside and "<script" not in outside and "\x1b" not in outside
    (row,) = [line for line in path.read_text("utf-8").splitlines() if "evil" in line]
    assert row.endswith(" | 4 |") and len(re.findall(r"(?<!\\)\|", row)) == 3
    assert not [line for line in outside.splitlines() if line.startswith("# heading")]


def test_its_front_matter_is_yaml(trained: Catalog) -> None:
    yaml = pytest.importorskip("yaml")
    _, front, _ = Path(write_model_card(trained, "one").card).read_text("utf-8").split("---\n", 2)
    read = yaml.safe_load(front)
    (index,) = read["model-index"]
    assert index["name"] == "one"
    assert index["results"][0]["metrics"] == [{"type": "accuracy", "value": 0.8125}]
    assert index["results"][0]["dataset"]["name"] == "test.parquet"


def test_many_licences_are_summed_up(trained: Catalog) -> None:
    with trained.write() as connection:
        connection.execute("UPDATE ledger SET selected = true")
        connection.execute(
            "UPDATE locations SET metadata = json_object('license', printf('%d', image_id))"
        )
        (images,) = connection.execute("SELECT count(*) FROM images").fetchone() or (0,)
    done = write_model_card(trained, "one")
    assert len(done.licences) == 21 and done.licences[f"{images - 20} others"] == images - 20
    assert sum(done.licences.values()) == done.images == images


def test_code_shows_text_in_one_line() -> None:
    assert code("a`b|c\nd\u202e") == "`a'b\\|c�d�`"
    assert code("") == "` `"
    assert len(code("x" * 500)) == 122


def test_a_run_that_is_not_there_is_told(trained: Catalog, kdcurate: Kdcurate) -> None:
    with pytest.raises(UsageError, match="no finished run is called 'onee': did you mean one"):
        write_model_card(trained, "onee")
    found = kdcurate("card", "one", "-w", trained.workspace, "--json")
    assert found.code == 0 and json.loads(found.out)["images"] == 12


def test_a_card_that_cannot_be_written_is_refused(
    trained: Catalog, kdcurate: Kdcurate, tmp_path: Path
) -> None:
    found = kdcurate("card", "one", "-w", trained.workspace, "-o", tmp_path)
    assert (found.code, found.out) == (2, "")
    assert found.err == f"kdcurate: cannot write {tmp_path} (it is a folder): name another file\n"
