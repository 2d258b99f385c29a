"""Format: webdataset, tar shards of KEY.SUFFIX and KEY.json."""

from __future__ import annotations

import io
import tarfile
from contextlib import ExitStack
from pathlib import Path

from curate.exporting.base import Export

_COLUMNS = """
key, suffix, rank, to_json({'label': pseudo_label, 'class': class_name, 'image_id': image_id,
'rank': rank, 'weight': weight, 'score': score, 'uri': uri, 'width': width, 'height': height,
'format': "format", 'sha256': sha256, 'metadata': metadata}) AS document
"""


def write_webdataset(export: Export, folder: Path) -> None:
    """Write shards 00000.tar, ... of `shard_size` images each, in order of rank.

    An image's bytes are those of its source. Members have no time and no owner: the same manifest
    gives the same bytes.

    Raises:
        DataError: an image is gone or no longer what it was when it was indexed.
    """
    folder.mkdir()
    size = export.options.shard_size
    with ExitStack() as stack:
        for number, (row, data) in enumerate(export.ranked_contents(_COLUMNS)):
            if number % size == 0:
                stack.close()
                name = folder / f"{number // size:05d}.tar"
                shard = stack.enter_context(tarfile.open(name, "w", format=tarfile.USTAR_FORMAT))
            _add(shard, f"{row['key']}{row['suffix']}", data)
            _add(shard, f"{row['key']}.json", row["document"].encode())


def _add(shard: tarfile.TarFile, name: str, data: bytes) -> None:
    header = tarfile.TarInfo(name)
    header.size = len(data)
    shard.addfile(header, io.BytesIO(data))
