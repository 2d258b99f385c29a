"""Side files of members with compound names, as webdataset pairs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from index import sources
from index.sources.sidecars import Sidecars

from .helpers import write_tar


def metadata(shard: Path) -> dict[str, dict[str, Any]]:
    parts = sources.partitions([str(shard)])
    found = [item for part in parts for item in sources.read(part)]
    return {item.uri.rpartition("#")[2]: item.metadata for item in found}


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (
            ["000.image.jpg", "000.json", "000.txt"],
            {"000.image.jpg": {"000.json": 1, "caption": "000.txt"}},
        ),
        (
            ["d.x/001.jpg", "d.x/001.metadata.json", "d.x/001.caption.txt", "d.x/001.licence.txt"],
            {
                "d.x/001.jpg": {
                    "d.x/001.metadata.json": 1,
                    "caption": "d.x/001.caption.txt",
                    "licence": "d.x/001.licence.txt",
                }
            },
        ),
        (["a.b.c.jpg", "a.b.c.json", "a.json"], {"a.b.c.jpg": {"a.b.c.json": 1}}),
        (
            ["2.left.jpg", "2.right.jpg", "2.json"],
            {"2.left.jpg": {"2.json": 1}, "2.right.jpg": {"2.json": 1}},
        ),
        (["p.1.jpg", "p.2.jpg", "p.1.json"], {"p.1.jpg": {"p.1.json": 1}, "p.2.jpg": {}}),
        (
            ["3.jpg", "3.json", "3.txt", "3.caption.txt"],
            {"3.jpg": {"3.json": 1, "caption": "3.txt"}},
        ),
    ],
)
def test_side_files_go_with_their_images(
    tmp_path: Path, members: list[str], expected: dict[str, Any]
) -> None:
    data = {
        name: json.dumps({name: 1}).encode() if name.endswith(".json") else name.encode()
        for name in members
    }
    assert metadata(write_tar(tmp_path / "s.tar", data)) == expected


def test_which_images_there_are_decides_each_time() -> None:
    sidecars = Sidecars()
    sidecars.add("p.1.json", 512, 7)
    assert sidecars.by_image({"p"}) == {"p": ((".1.json", 512, 7),)}
    assert sidecars.by_image({"p", "p.1"}) == {"p": (), "p.1": ((".json", 512, 7),)}


def test_many_images_of_one_short_key_share_nothing(tmp_path: Path) -> None:
    names = [f"clip.v1_{number:06}" for number in range(17)]
    members = {f"{name}.jpg": b"" for name in names}
    members |= {f"{name}_meta.json": b'{"licence": 1}' for name in names}
    assert not any(metadata(write_tar(tmp_path / "s.tar", members)).values())
