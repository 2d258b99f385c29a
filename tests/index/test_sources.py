"""Sources: what is listed, how it is cut, what is read, and that it can be read again."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index import sources
from index.errors import DataError, UsageError
from index.sources import Item, SourceOptions
from index.sources.base import metadata_json, partition_key

from .helpers import png, write_tar


def items(*names: Path | str) -> list[Item]:
    listed = sources.partitions([str(name) for name in names])
    return [item for partition in listed for item in sources.read(partition)]


def fetched(item: Item, kind: str) -> bytes:
    return next(iter(sources.fetch(kind, item.container, [(item.position, item.length)])))


def write_parquet(path: Path, query: str, *parameters: Any) -> Path:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t AS " + query, list(parameters))
        target = str(path).replace("'", "''")
        connection.execute(f"COPY t TO '{target}' (FORMAT parquet)")
    return path


class TestFolders:
    def test_images_are_found_by_suffix_in_the_order_of_their_paths(self, tmp_path: Path) -> None:
        for name in ("b/2.JPG", "b/1.png", "a.webp", "notes.txt", ".hidden/x.png", ".x.png", "c"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(name.encode())
        found = items(tmp_path)
        assert [item.uri for item in found] == [
            str(tmp_path / name) for name in ("a.webp", "b/1.png", "b/2.JPG")
        ]
        assert [item.data for item in found] == [b"a.webp", b"b/1.png", b"b/2.JPG"]
        assert [fetched(item, "files") for item in found] == [item.data for item in found]

    def test_a_file_a_glob_and_a_relative_path_are_sources(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("1.png", "2.png", "3.txt"):
            (tmp_path / name).write_bytes(b"x")
        assert [item.uri for item in items(tmp_path / "1.png")] == [str(tmp_path / "1.png")]
        assert len(items(tmp_path / "*.png")) == 2
        monkeypatch.chdir(tmp_path)
        assert [item.uri for item in items("1.png")] == [str(tmp_path / "1.png")]

    @pytest.mark.parametrize("name", ["absent", "*.png", "readme.md"])
    def test_what_is_no_source_is_named(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "readme.md").touch()
        with pytest.raises(DataError, match="source") as caught:
            items(tmp_path / name)
        assert name in str(caught.value)

    def test_a_new_file_changes_one_partition_only(self, tmp_path: Path) -> None:
        cuts = [n for n in map("{}.png".format, range(9999)) if zlib.crc32(n.encode()) % 256 == 0]
        for name in [*cuts[:6], *(f"{i}.png" for i in range(300))]:
            (tmp_path / name).touch()
        before = {part.key: part.count for part in sources.partitions([str(tmp_path)])}
        assert len(before) >= 6
        for name in ("0000.png", "5.5.png", "zzz.png"):
            (tmp_path / name).touch()
            after = {part.key: part.count for part in sources.partitions([str(tmp_path)])}
            assert len(before.keys() - after.keys()) <= 1
            assert sum(after.values()) == sum(before.values()) + 1
            before = after

    def test_a_changed_file_changes_its_partition(self, tmp_path: Path) -> None:
        (tmp_path / "1.png").write_bytes(b"x")
        keys = [part.key for part in sources.partitions([str(tmp_path)])]
        assert [part.key for part in sources.partitions([str(tmp_path)])] == keys
        os.utime(tmp_path / "1.png", ns=(0, 0))
        assert [part.key for part in sources.partitions([str(tmp_path)])] != keys

    def test_a_partition_is_bounded(self, tmp_path: Path) -> None:
        names = (n for n in map("{:05}.png".format, range(9999)) if zlib.crc32(n.encode()) % 256)
        for _ in range(1030):
            (tmp_path / next(names)).touch()
        assert [part.count for part in sources.partitions([str(tmp_path)])] == [1024, 6]

    def test_a_file_that_shrank_is_not_read(self, tmp_path: Path) -> None:
        (tmp_path / "1.png").write_bytes(b"12345")
        (item,) = items(tmp_path)
        (tmp_path / "1.png").write_bytes(b"123")
        with pytest.raises(DataError, match=r"1\.png is shorter .* run build-index"):
            fetched(item, "files")
        (tmp_path / "1.png").unlink()
        with pytest.raises(DataError, match=r"cannot read .*1\.png"):
            fetched(item, "files")


class TestTars:
    def test_members_come_with_their_side_files(self, tmp_path: Path) -> None:
        fields = {"url": "http://x/1", "width": 8}
        shard = write_tar(
            tmp_path / "0.tar",
            {
                "a/1.png": b"one",
                "a/1.txt": b" a cat \n",
                "a/1.json": json.dumps(fields).encode(),
                "2.5.jpg": b"two",
                "2.5.json": b"{broken",
                "2.json": b'{"not": "of 2.5"}',
                "3.webp": b"three",
                "3.json": b"[1, 2]",
                "notes.md": b"no image",
            },
        )
        found = items(shard)
        assert [(item.uri, item.data) for item in found] == [
            (f"{shard}#a/1.png", b"one"),
            (f"{shard}#2.5.jpg", b"two"),
            (f"{shard}#3.webp", b"three"),
        ]
        assert [item.metadata for item in found] == [
            {"caption": "a cat", **fields},
            {"json_error": "not valid JSON"},
            {"json": [1, 2]},
        ]
        assert [fetched(item, "tar") for item in found] == [b"one", b"two", b"three"]
        assert shard.read_bytes()[found[1].position :][:3] == b"two"

    def test_a_shard_is_cut_every_512_members(self, tmp_path: Path) -> None:
        shard = write_tar(tmp_path / "0.tar", {f"{i}.png": b"%d" % i for i in range(1030)})
        parts = list(sources.partitions([str(shard)]))
        assert [part.count for part in parts] == [512, 512, 6]
        assert len({part.key for part in parts}) == 3
        assert [item.data for item in items(shard)] == [b"%d" % i for i in range(1030)]

    def test_a_name_that_occurs_twice_gets_two_uris(self, tmp_path: Path) -> None:
        one, two = (write_tar(tmp_path / f"{i}.tar", {"x.png": b"%d" % i}) for i in range(2))
        with one.open("r+b") as file:
            file.seek(1024)  # over the end mark: header and one block of data
            file.write(two.read_bytes())
        found = items(one)
        assert [item.data for item in found] == [b"0", b"1"]
        assert [item.uri for item in found] == [f"{one}#x.png", f"{one}#x.png@1024"]

    def test_an_empty_shard_has_nothing(self, tmp_path: Path) -> None:
        assert items(write_tar(tmp_path / "0.tar", {})) == []


class TestShardsOfImg2dataset:
    """A shard and the table beside it, as img2dataset writes them."""

    TABLE = (
        "SELECT * FROM (VALUES ('000000002', 'http://x/2', 'two', 640, NULL), "
        "('000000001', 'http://x/1', NULL, 32, 'x'::BLOB), ('1.5', 'http://x/1.5', 'dots', 1, NULL)"
        ") t(key, url, caption, original_width, feature)"
    )

    def test_rows_of_the_table_are_merged_by_key(self, tmp_path: Path) -> None:
        shard = write_tar(
            tmp_path / "00000.tar",
            {
                "000000001.txt": b"one",
                "000000002.jpg": b"2",
                "1.5.png": b"1.5",
                "000000001.jpg": b"1",
                "folder/000000002.webp": b"f",
                "1.png": b"no row",
                "000000002.json": b'{"caption": "the shard\'s own"}',
            },
        )
        write_parquet(tmp_path / "00000.parquet", self.TABLE)
        found = {item.data: item.metadata for item in items(shard)}
        two = {"key": "000000002", "url": "http://x/2", "caption": "two", "original_width": 640}
        assert found == {
            b"2": {**two, "caption": "the shard's own"},
            b"f": two,
            b"1": {
                "key": "000000001",
                "url": "http://x/1",
                "original_width": 32,
                "caption": "one",
            },
            b"1.5": {"key": "1.5", "url": "http://x/1.5", "caption": "dots", "original_width": 1},
            b"no row": {},
        }

    def test_the_same_key_in_two_shards_is_two_images(self, tmp_path: Path) -> None:
        for shard in range(2):
            write_tar(tmp_path / f"{shard}.tar", {"1.png": b"%d" % shard})
            query = f"SELECT '1' AS key, 'http://x/{shard}' AS url"
            write_parquet(tmp_path / f"{shard}.parquet", query)
        found = items(tmp_path / "*.tar")
        assert [item.uri.rpartition("/")[2] for item in found] == ["0.tar#1.png", "1.tar#1.png"]
        assert [item.metadata["url"] for item in found] == ["http://x/0", "http://x/1"]

    def test_a_member_that_occurs_twice_has_its_row_twice(self, tmp_path: Path) -> None:
        one, two = (write_tar(tmp_path / f"{i}.tar", {"1.5.png": b"%d" % i}) for i in range(2))
        with one.open("r+b") as file:
            file.seek(1024)
            file.write(two.read_bytes())
        write_parquet(tmp_path / "0.parquet", self.TABLE)
        assert [item.metadata["caption"] for item in items(one)] == ["dots", "dots"]

    @pytest.mark.parametrize("other", ["SELECT 1 AS other", "SELECT 7 AS key, 'x' AS url"])
    def test_another_table_beside_it_is_left_alone(self, tmp_path: Path, other: str) -> None:
        shard = write_tar(tmp_path / "0.tar", {"1.png": b"1"})
        write_parquet(tmp_path / "0.parquet", other)
        assert [item.metadata for item in items(shard)] == [{}]

    def test_a_damaged_table_is_said_beside_the_images(self, tmp_path: Path) -> None:
        shard = write_tar(tmp_path / "0.tar", {"1.png": b"1", "1.txt": b"one"})
        (tmp_path / "0.parquet").write_bytes(b"PAR1 no more PAR1")
        (item,) = items(shard)
        assert item.data == b"1"
        assert item.metadata == {"parquet_error": "not readable: 0.parquet", "caption": "one"}

    def test_a_table_that_changed_changes_the_partition(self, tmp_path: Path) -> None:
        shard = write_tar(tmp_path / "0.tar", {"1.png": b"1"})
        keys = [[part.key for part in sources.partitions([str(shard)])]]
        for url in ("a", "bb"):
            write_parquet(tmp_path / "0.parquet", f"SELECT '1' AS key, '{url * 50}' AS url")
            keys.append([part.key for part in sources.partitions([str(shard)])])
        assert len({key for (key,) in keys}) == 3


class TestParquet:
    def test_rows_come_with_their_other_columns(self, tmp_path: Path) -> None:
        path = write_parquet(
            tmp_path / "0.parquet",
            "SELECT 'one'::BLOB AS image, 'a cat' AS caption, 3 AS label, 'x'::BLOB AS feature "
            "UNION ALL SELECT 'two'::BLOB, NULL, 4, NULL UNION ALL SELECT NULL, 'lost', 5, NULL",
        )
        found = items(path)
        assert [(item.uri, item.data, item.error) for item in found] == [
            (f"{path}#0", b"one", ""),
            (f"{path}#1", b"two", ""),
            (f"{path}#2", b"", "no image bytes in this row"),
        ]
        assert [item.metadata for item in found[:2]] == [
            {"caption": "a cat", "label": 3},
            {"label": 4},
        ]

    def test_a_struct_of_bytes_and_path_is_an_image(self, tmp_path: Path) -> None:
        path = write_parquet(
            tmp_path / "0.parquet",
            "SELECT {'path': 'a.jpg', 'bytes': range::VARCHAR::BLOB} AS img, range AS label "
            "FROM range(1200)",
        )
        assert [part.count for part in sources.partitions([str(path)])] == [512, 512, 176]
        assert [item.data for item in items(path)] == [b"%d" % i for i in range(1200)]

    @pytest.mark.parametrize("places", [[0], [3, 700], [5, 6, 7, 1199]])
    def test_rows_are_read_again_by_number(self, tmp_path: Path, places: list[int]) -> None:
        query = "SELECT range::VARCHAR::BLOB AS image FROM range(1200)"
        path = write_parquet(tmp_path / "0.parquet", query)
        found = list(sources.fetch("parquet", str(path), [(place, 1) for place in places]))
        assert found == [b"%d" % place for place in places]

    def test_a_row_or_file_that_is_gone_is_named(self, tmp_path: Path) -> None:
        path = write_parquet(tmp_path / "0.parquet", "SELECT 'x'::BLOB AS image")
        with pytest.raises(DataError, match=r"0\.parquet has no row 5 any more: .*build-index"):
            list(sources.fetch("parquet", str(path), [(5, 1)]))
        path.unlink()
        with pytest.raises(DataError, match=r"0\.parquet"):
            list(sources.fetch("parquet", str(path), [(0, 1)]))

    @pytest.mark.parametrize(
        "query",
        ["SELECT 1 AS image", "SELECT 'x'::BLOB AS picture", "SELECT {'path': 'x'} AS image"],
    )
    def test_a_file_without_images_is_named(self, tmp_path: Path, query: str) -> None:
        path = write_parquet(tmp_path / "0.parquet", query)
        with pytest.raises(DataError, match=r"0\.parquet has no column of image bytes: name it"):
            items(path)


class TestNamedColumns:
    QUERY = "SELECT range::VARCHAR::BLOB AS \"my: pic\", 'x.png' AS path FROM range(3)"

    @pytest.mark.parametrize("name", ["my: pic", "MY: PIC"])
    def test_an_image_column_may_have_any_name(self, tmp_path: Path, name: str) -> None:
        path = write_parquet(tmp_path / "0.parquet", self.QUERY)
        options = SourceOptions(name)
        sources.check([str(path)], options)
        (part,) = sources.partitions([str(path)], options)
        found = list(sources.read(part))
        assert [item.data for item in found] == [b"0", b"1", b"2"]
        assert [fetched(item, part.kind) for item in found] == [b"0", b"1", b"2"]

    def test_a_struct_may_have_any_name(self, tmp_path: Path) -> None:
        query = "SELECT {'bytes': 'x'::BLOB, 'path': 'p'} AS photo, 'other'::BLOB AS image"
        path = write_parquet(tmp_path / "0.parquet", query)
        (part,) = sources.partitions([str(path)], SourceOptions("photo"))
        assert [item.data for item in sources.read(part)] == [b"x"]
        (other,) = sources.partitions([str(path)])
        assert [item.data for item in sources.read(other)] == [b"other"]
        assert part.key != other.key

    def test_an_unknown_column_is_named_with_those_that_are_there(self, tmp_path: Path) -> None:
        path = write_parquet(tmp_path / "0.parquet", self.QUERY)
        said = r"0\.parquet has no column photo of image bytes: its columns are my: pic, path"
        with pytest.raises(DataError, match=said):
            list(sources.partitions([str(path)], SourceOptions("photo")))

    def test_a_column_of_no_parquet_file_is_refused(self, tmp_path: Path) -> None:
        shard = write_tar(tmp_path / "0.tar", {"1.png": b"1"})
        with pytest.raises(UsageError, match="--image-column is for Parquet files"):
            sources.check([str(shard)], SourceOptions("photo"))


facts = st.lists(st.one_of(st.text(), st.integers(), st.lists(st.integers()).map(tuple)))


@given(facts, facts)
def test_partition_keys_are_equal_where_the_facts_are(one: list[Any], two: list[Any]) -> None:
    assert (partition_key(*one) == partition_key(*two)) is (one == two)
    assert len(partition_key(*one)) == 32


words = st.text(st.characters())  # lone surrogates too
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), words, st.binary()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(words, inner)),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def duck() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


@settings(max_examples=60)
@given(metadata=st.dictionaries(st.one_of(words, st.dates(), st.binary()), json_values, min_size=1))
def test_metadata_is_always_json_that_duckdb_takes(
    duck: duckdb.DuckDBPyConnection, metadata: dict[Any, Any]
) -> None:
    text = metadata_json(Item("u", "c", 0, 0, metadata=metadata))
    assert text is not None
    json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert duck.execute("SELECT json_valid(?)", [text]).fetchall() == [(True,)]


def test_plain_metadata_is_kept_as_it_is() -> None:
    metadata = {"caption": "a 'cat' \0 😀", "n": [1, 2.5, None, True], "deep": {"x": "y"}}
    text = metadata_json(Item("u", "c", 0, 0, metadata=metadata))
    assert text is not None
    assert json.loads(text) == metadata
    assert metadata_json(Item("u", "c", 0, 0)) is None


def test_a_folder_may_hold_every_kind_given_by_glob(tmp_path: Path) -> None:
    write_tar(tmp_path / "s.tar", {"1.png": png(1)})
    write_parquet(tmp_path / "s.parquet", "SELECT 'x'::BLOB AS image")
    (tmp_path / "s.png").write_bytes(png(2))
    kinds = [part.kind for part in sources.partitions([str(tmp_path / "s.*")])]
    assert kinds == ["parquet", "files", "tar"]
