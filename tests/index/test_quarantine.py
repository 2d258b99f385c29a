"""An image that crashes or hangs its decoder is a failure, and the only one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from index import sources
from index.decoded import decode_partition
from index.decoding import Decoder, View
from index.errors import DataError
from index.quarantine import Quarantine
from index.sources import Item, Partition

from .helpers import PROJECT, Fragile, build, content, failures, png, rows, write_tar

LIMIT_S = 2.0
SEGV = "the decoder crashed (signal 11)"
HUNG = "the decoder hung: more than 2 s"


def shards(folder: Path, bad: dict[int, bytes]) -> Path:
    """Six shards of three images; those of `bad` have one more that is no friend of decoders."""
    for shard in range(6):
        members = {f"{i}.png": png(10 * shard + i) for i in range(3)}
        if shard in bad:
            members = {"0.png": members["0.png"], "bad.png": bad[shard], **members}
        write_tar(folder / f"{shard}.tar", members)
    return folder / "*.tar"


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_only_the_guilty_image_is_lost(tmp_path: Path, workers: int) -> None:
    bad = {0: b"SEGV", 2: b"HANG", 3: b"KILL", 5: b"EXIT"}
    crawl = shards(tmp_path / "bad", bad)
    options = {"decoder": Fragile, "image_limit_s": LIMIT_S}
    summary = build(tmp_path / "ws", crawl, workers=workers, **options)
    assert (summary.images, summary.failed) == (18, 4)
    assert failures(tmp_path / "ws") == {
        "0.tar#bad.png": SEGV,
        "2.tar#bad.png": HUNG,
        "3.tar#bad.png": "the decoder crashed (signal 9)",
        "5.tar#bad.png": "the decoder crashed (exit code 3)",
    }
    build(tmp_path / "good", shards(tmp_path / "good shards", {}))
    whole, found = content(tmp_path / "good"), content(tmp_path / "ws")
    for same in ("images", "vectors", "indexed"):
        assert found[same] == whole[same]
    again = build(tmp_path / "ws", crawl)  # what is done stays done
    assert (again.new, again.failed) == (0, 4)


def test_results_are_those_of_an_undisturbed_worker(tmp_path: Path) -> None:
    members = {"a.png": png(0), "b.png": b"<html>", "copy.png": png(0), "c.png": png(1)}
    (part,) = sources.partitions([str(write_tar(tmp_path / "0.tar", members))])
    plain = decode_partition(part, Decoder(View(8)))
    careful = Quarantine(Decoder(View(8)))(part)
    assert careful.pixels.tobytes() == plain.pixels.tobytes()
    for same in ("partition", "images", "locations", "failures"):
        assert getattr(careful, same) == getattr(plain, same)


def test_copies_of_a_guilty_image_are_not_tried_again(tmp_path: Path) -> None:
    members = {f"{i}.png": b"HANG" for i in range(50)} | {"good.png": png(0)}
    (part,) = sources.partitions([str(write_tar(tmp_path / "0.tar", members))])
    decoded = Quarantine(Fragile(View(8)), LIMIT_S)(part)
    assert {row["reason"] for row in decoded.failures} == {HUNG}
    assert (len(decoded.failures), len(decoded.images)) == (50, 1)


def test_a_bad_image_in_a_folder_of_one_partition_is_quarantined(tmp_path: Path) -> None:
    crawl = tmp_path / "crawl"
    crawl.mkdir()
    (crawl / "0.png").write_bytes(png(0))
    (crawl / "1.jpg").write_bytes(b"SEGV")
    build(tmp_path / "ws", crawl, workers=2, decoder=Fragile)
    assert failures(tmp_path / "ws") == {"1.jpg": SEGV}
    assert rows(tmp_path / "ws", "SELECT count(*) FROM images") == [(1,)]


def crash_while_reading(partition: Partition) -> Iterator[Item]:
    for item in sources.files.read(partition):
        yield item
        os.kill(os.getpid(), signal.SIGSEGV)


class BreaksReader(Decoder):
    """Stands in for a reader that crashes: the second item never comes."""

    def __reduce__(self) -> tuple[object, ...]:
        return _break_reader, (self.view,)


def _break_reader(view: View) -> Decoder:
    from index.sources import _KINDS, SourceKind, files

    kind = _KINDS["files"]
    _KINDS["files"] = SourceKind(kind.matches, kind.partitions, crash_while_reading, files.fetch)
    return Decoder(view)


def test_a_reader_that_crashes_loses_what_follows_and_says_so(tmp_path: Path) -> None:
    for seed in range(3):
        (tmp_path / f"{seed}.png").write_bytes(png(seed))
    (part,) = sources.partitions([str(tmp_path)])
    decoded = Quarantine(BreaksReader(View(8)))(part)
    assert len(decoded.images) == 1
    (failure,) = decoded.failures
    assert failure["reason"] == "the reader crashed (signal 11): what follows is not read"
    assert failure["container"] == str(tmp_path)


def test_where_no_process_starts_nothing_is_blamed_on_the_images(tmp_path: Path) -> None:
    """A script without the guard that every script with processes needs."""
    (tmp_path / "crawl").mkdir()
    (tmp_path / "crawl" / "0.png").write_bytes(png(0))
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from index.build import build_index\n"
        "from tests.index.helpers import Quadrants\n"
        f"build_index(Path({str(tmp_path / 'ws')!r}), [{str(tmp_path / 'crawl')!r}], Quadrants(),"
        " workers=1)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    ended = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    said = ended.stderr.strip().splitlines()[-1]
    assert said.startswith("index.errors.DataError: no decoder process can be started")
    assert not (tmp_path / "ws" / "catalog.duckdb").exists()


def test_an_error_of_the_source_passes(tmp_path: Path) -> None:
    (part,) = sources.partitions([str(write_tar(tmp_path / "0.tar", {"a.png": png(0)}))])
    (tmp_path / "0.tar").unlink()
    with pytest.raises(DataError, match=r"cannot read .*0\.tar \(No such file or directory\)"):
        Quarantine(Decoder(View(8)))(part)
