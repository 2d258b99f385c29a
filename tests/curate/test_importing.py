"""Lists of images that become manifests, and lists that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from curate.importing import import_manifest
from curate.manifest import get_manifest
from curate.options import SelectOptions
from curate.pool import Pool
from curate.selection import select
from distill.networks import load_network
from distill.options import TrainOptions
from distill.run import RunOptions, distill
from index.errors import DataError, NothingSelectedError, UsageError

from .helpers import IMAGES, build, pixels_of, png, query, write_files, write_parquet


def some(workspace: Path, count: int) -> list[tuple[int, str, int]]:
    """Ids, paths, and the teacher's labels of images that have one place only."""
    return query(
        workspace,
        "SELECT image_id, any_value(uri), any_value(pseudo_label) FROM locations "
        "JOIN scores USING (image_id) WHERE model IN (SELECT max(model) FROM scores) "
        f"GROUP BY 1 HAVING count(DISTINCT uri) = 1 ORDER BY 2 DESC LIMIT {count}",
    )


def text(path: Path, *lines: object) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def taken(workspace: Path, name: str = "mine") -> list[tuple[int, int, float]]:
    return query(
        workspace,
        "SELECT image_id, pseudo_label, weight FROM decisions WHERE manifest = ? AND selected "
        'ORDER BY "rank"',
        name,
    )


def test_a_list_of_ids_is_a_manifest_with_the_whole_ledger(
    pool: Pool, workspace: Path, tmp_path: Path
) -> None:
    ids = [key for key, _, _ in some(workspace, 7)]
    found = import_manifest(pool.catalog, text(tmp_path / "l.txt", *ids), "mine", pool.teacher)
    assert get_manifest(pool.catalog, "mine") == found
    assert (found.pool, found.eligible, found.selected) == (IMAGES, 7, 7)
    assert (found.strategy, found.teacher, found.student) == ("imported", pool.teacher, None)
    assert found.preprocessing == pool.preprocessing
    labels = dict(
        query(workspace, "SELECT image_id, pseudo_label FROM scores WHERE model = ?", pool.teacher)
    )
    assert taken(workspace) == [(key, labels[key], 1.0) for key in ids]
    ledger = query(workspace, "SELECT image_id, selected, reason FROM decisions ORDER BY 1")
    assert [key for key, _, _ in ledger] == sorted(labels)
    said = {True: "imported: in the list", False: "not in the imported list"}
    assert all(reason == said[selected] for _, selected, reason in ledger)
    assert dict(query(workspace, "SELECT why, count(*) FROM decisions GROUP BY 1")) == {
        "imported": 7,
        "not in the imported list": IMAGES - 7,
    }


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_paths_labels_and_weights_are_read(
    pool: Pool, workspace: Path, tmp_path: Path, kind: str
) -> None:
    (a, b, c) = some(workspace, 3)
    file = tmp_path / f"list.{kind}"
    rows = [(a[1], 3, 0.5), (b[1], None, None), (c[1], 0, 2.0)]
    if kind == "parquet":
        write_parquet(file, "uri VARCHAR, pseudo_label INTEGER, weight DOUBLE", rows)
    elif kind == "jsonl":
        text(
            file,
            f'{{"path": "{a[1]}", "pseudo_label": 3, "weight": 0.5, "more": {{"x": [1]}}}}',
            f'{{"path": "{b[1]}"}}',
            f'{{"path": "{c[1]}", "pseudo_label": "0", "weight": 2}}',
        )
    else:
        comma = "," if kind == "csv" else "\t"
        lines = [comma.join("" if v is None else str(v) for v in row) for row in rows]
        text(file, comma.join(("Path", "pseudo_label", "weight")), *lines)
    import_manifest(pool.catalog, file, "mine", pool.teacher[:-3])
    labels = dict(
        query(workspace, "SELECT image_id, pseudo_label FROM scores WHERE model = ?", pool.teacher)
    )
    assert taken(workspace) == [(a[0], 3, 0.5), (b[0], labels[b[0]], 1.0), (c[0], 0, 2.0)]


def test_a_path_that_is_not_absolute_counts_from_the_list(
    pool: Pool, workspace: Path, crawl: Path
) -> None:
    name = Path(some(workspace, 1)[0][1]).name
    file = crawl.parent / "beside.txt"
    import_manifest(pool.catalog, text(file, f"{crawl.name}/{name}"), "mine", pool.teacher)
    assert [key for key, _, _ in taken(workspace)] == [some(workspace, 1)[0][0]]


def test_what_names_no_image_is_refused_by_name(
    pool: Pool, workspace: Path, tmp_path: Path
) -> None:
    key = some(workspace, 1)[0][0]
    bad = ["/no/such.png", 2**63, 17, "x" * 300, "\x1b[31m"]
    file = text(tmp_path / "l.txt", key, *bad)
    with pytest.raises(UsageError) as caught:
        import_manifest(pool.catalog, file, "mine", pool.teacher)
    said = str(caught.value)
    assert said.startswith(
        f"5 rows of {file} name no image of this workspace: row 2 (/no/such.png)"
    )
    assert said.endswith("row 4 (17), ...") and "\x1b" not in said
    assert query(workspace, "SELECT count(*) FROM manifests") == [(0,)]
    assert query(workspace, "SELECT count(*) FROM decisions") == [(0,)]


def test_an_image_that_is_named_twice_is_refused(
    pool: Pool, workspace: Path, tmp_path: Path
) -> None:
    copies = query(
        workspace,
        "SELECT image_id, list(uri ORDER BY uri) FROM locations GROUP BY 1 HAVING count(*) = 2 "
        "ORDER BY 1 LIMIT 1",
    )
    (_, (one, other)) = copies[0]
    with pytest.raises(UsageError, match=r"1 rows of .* that an earlier row names: row 2 \(.*\)$"):
        import_manifest(pool.catalog, text(tmp_path / "l.txt", one, other), "mine", pool.teacher)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("pseudo_label", "4", "no class from 0 to 3"),
        ("pseudo_label", "-1", "no class from 0 to 3"),
        ("pseudo_label", "cat", "no class from 0 to 3"),
        ("weight", "0", "no number above 0"),
        ("weight", "nan", "no number above 0"),
        ("weight", "inf", "no number above 0"),
        ("weight", "much", "no number above 0"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(
    pool: Pool, workspace: Path, tmp_path: Path, column: str, value: str, message: str
) -> None:
    key = some(workspace, 1)[0][0]
    file = text(tmp_path / "l.csv", f"image_id,{column}", f"{key},{value}")
    with pytest.raises(UsageError, match=f"1 rows .*{message}: row 1"):
        import_manifest(pool.catalog, file, "mine", pool.teacher)


def test_what_is_no_list_is_refused(pool: Pool, tmp_path: Path) -> None:
    def refused(file: Path, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            import_manifest(pool.catalog, file, "mine", pool.teacher)

    refused(tmp_path / "no.csv", DataError, "no such list")
    refused(text(tmp_path / "l.xls", 1), DataError, r"it must end in \.csv")
    refused(text(tmp_path / "l.csv", "name,label", "a,1"), DataError, "its columns are name, label")
    refused(text(tmp_path / "e.csv", "image_id"), NothingSelectedError, "lists no image")
    refused(text(tmp_path / "b.jsonl", "{]"), DataError, "not a readable list")
    refused(text(tmp_path / "b.parquet", "x"), DataError, "not a readable list")


def test_the_teacher_has_to_have_scored_the_pool(pool: Pool, tmp_path: Path) -> None:
    file = text(tmp_path / "l.txt", 1)
    with pytest.raises(UsageError, match=f"--teacher 'nobody' .*{pool.teacher}"):
        import_manifest(pool.catalog, file, "mine", "nobody")
    more = write_files(tmp_path / "more", {"a.png": png(pixels_of(1234))})
    build(pool.catalog.workspace, [more])
    with pytest.raises(UsageError, match=f"1 images are not scored by {pool.teacher}"):
        import_manifest(pool.catalog, file, "mine", pool.teacher)


def test_a_name_is_not_given_twice(pool: Pool, workspace: Path, tmp_path: Path) -> None:
    select(pool, "first", SelectOptions("msp", budget=5))
    file = text(tmp_path / "l.txt", some(workspace, 1)[0][0])
    with pytest.raises(UsageError, match="'first' exists and decides differently"):
        import_manifest(pool.catalog, file, "first", pool.teacher)


def test_a_student_learns_from_an_imported_list(
    pool: Pool, workspace: Path, tmp_path: Path, teacher: str
) -> None:
    file = text(tmp_path / "l.txt", *(key for key, _, _ in some(workspace, 8)))
    import_manifest(pool.catalog, file, "mine", pool.teacher)
    train = TrainOptions(max_steps=2, batch_size=4, device="cpu", precision="float32")
    options = RunOptions("mine", teacher, "cifar:resnet8", "kd", train, {}, workers=0)
    result = distill(pool.catalog, options, teacher=load_network(teacher))
    assert result.steps == 2 and Path(result.student).is_file()
    assert query(workspace, "SELECT manifest FROM runs") == [("mine",)]
