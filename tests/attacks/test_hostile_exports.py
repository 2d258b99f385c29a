"""What a crawl is called and what came with it never becomes a path, SQL, or another column."""

from __future__ import annotations

import csv
import io
import json
import re
import tarfile
from pathlib import Path

import pytest

from curate.diff import compare, differing_images
from curate.exporting import FORMATS, ExportOptions, export_manifest
from index.catalog import Catalog
from index.errors import UsageError
from index.models import register_model
from tests.distill.workspaces import add_manifest
from tests.index.helpers import build, png, rows

NAMES = (
    "../../../../escape.png",
    "/absolute.png",
    "nul\0byte.png",
    "quote\"s and 's.png",
    'comma, and "quote"\nand line\r\nbreaks.png',
    "'); DROP TABLE decisions; --.png",
    "x" * 5000 + ".png",
    "CON.png",
    "aux.tar.png",
    "..png",
    "\u202egnp.exe.png",
    "=HYPERLINK(1).png",
    ".hidden.png",
)
CLASSES = ["../../up", "CON", "a/b\\c:d", "nul\0", "x" * 5000]
CAPTION = "'); DROP TABLE decisions; --\n\0\"<script>,../../x\x1b[31m"


def add(shard: tarfile.TarFile, name: str, data: bytes) -> None:
    header = tarfile.TarInfo(name)
    header.size = len(data)
    header.pax_headers = {"path": name}  # an old header would end at a NUL
    shard.addfile(header, io.BytesIO(data))


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    crawl = tmp_path / "crawl"
    crawl.mkdir()
    with tarfile.open(crawl / "evil.tar", "w") as shard:
        for seed, name in enumerate(NAMES):
            add(shard, name, png(seed))
            document = {"caption": CAPTION, "key": name, "file_name": "../../x", "\0": "\ud800"}
            add(shard, name.removesuffix(".png") + ".json", json.dumps(document).encode())
    build(tmp_path / "ws", crawl / "evil.tar")
    catalog = Catalog(tmp_path / "ws")
    register_model(catalog, "teacher", "x", "{}", CLASSES)
    (count,) = rows(tmp_path / "ws", "SELECT count(*) FROM images")[0]
    assert count == len(NAMES)
    add_manifest(catalog, "first", "hash", count)
    with catalog.write() as connection:
        connection.execute('UPDATE ledger SET pseudo_label = "rank" % 6')
    return catalog


def files_below(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*")}


@pytest.mark.parametrize("format", [one for one in FORMATS if one != "txt"])
def test_nothing_is_written_but_the_target(catalog: Catalog, tmp_path: Path, format: str) -> None:
    box = tmp_path / "box"
    box.mkdir()
    before = files_below(tmp_path)
    options = ExportOptions(format, by_class=format == "folder")
    export_manifest(catalog, "first", box / "out", options)
    new = {name for name in files_below(tmp_path) - before if not name.startswith("ws/")}
    allowed = r"box/out(/((data/)|(\d{4}(_[A-Za-z0-9_-]{1,64})?/?))?([0-9]{19}\.png)?)?"
    named = {"box/out/metadata.jsonl", "box/out/kdcurate.json", "box/out/00000.tar"}
    named |= {"box/out/labels.json", "box/out/data"}
    assert [name for name in new - named if not re.fullmatch(allowed, name)] == []
    assert rows(catalog.workspace, "SELECT count(*) FROM decisions") == [(len(NAMES),)]


def test_a_csv_reads_back_as_it_was(catalog: Catalog, tmp_path: Path) -> None:
    export_manifest(catalog, "first", tmp_path / "o.csv", ExportOptions("csv"))
    with (tmp_path / "o.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    found = {row["uri"]: json.loads(row["metadata"]) for row in table}
    stored = rows(catalog.workspace, "SELECT uri, metadata FROM locations")
    assert found == {uri: json.loads(metadata) for uri, metadata in stored}
    assert len(table) == len(NAMES)


def test_members_of_shards_are_ids(catalog: Catalog, tmp_path: Path) -> None:
    export_manifest(catalog, "first", tmp_path / "out", ExportOptions("webdataset"))
    with tarfile.open(tmp_path / "out" / "00000.tar") as shard:
        names = shard.getnames()
        assert all(re.fullmatch(r"[0-9]{19}\.(png|json)", name) for name in names)
        for name in names[1::2]:
            facts = json.loads(shard.extractfile(name).read())  # type: ignore[union-attr]
            assert facts["metadata"]["file_name"] == "../../x"
            assert facts["metadata"]["caption"] == CAPTION
    assert len(names) == 2 * len(NAMES)


def test_a_line_break_in_a_name_is_no_line_of_text(catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="1 names hold line breaks, .*: export csv or jsonl"):
        export_manifest(catalog, "first", tmp_path / "o.txt", ExportOptions("txt"))
    assert not (tmp_path / "o.txt").exists()


def test_a_manifest_of_any_name_is_compared(catalog: Catalog) -> None:
    name = "'); DROP TABLE decisions; --"
    add_manifest(catalog, name, "hash", 3)
    with compare(catalog, "first", name) as compared:
        assert len(list(differing_images(compared))) == len(NAMES)
