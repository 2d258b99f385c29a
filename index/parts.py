"""Append-only stores of float16 rows with their image ids: vectors, logits, raw shifts."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from index.catalog import Catalog, insert
from index.errors import WorkspaceError
from index.files import atomic_path, file_sha256, rename

Ids = NDArray[np.int64]
Rows = NDArray[np.float16]
Arrays = Mapping[str, NDArray[Any]]
# Where a member's header in a ZIP says how long the name and the extra field behind it are.
_ZIP_LENGTHS = 26
# Of each kind of store, the table that points at its rows and the column that names its owner.
_REFERRED_BY = {
    "vectors": ("vectors", "embedder"),
    "logits": ("scores", "model"),
    "shifts": ("scores", "model"),
}


@dataclass(frozen=True)
class Part:
    """One part file as the catalog records it."""

    store: str
    part: int
    rows: int
    width: int
    bytes: int
    sha256: str

    def path(self, workspace: Path) -> Path:
        """Return where the part lies: WS/STORE/part-00000.npz."""
        return workspace / self.store / f"part-{self.part:05d}.npz"


def half(values: NDArray[np.float32]) -> Rows:
    """Round to float16 as parts store it, clipped to its range: an infinity would poison every sum.

    Raises:
        WorkspaceError: a value is NaN, which every comparison would let pass or rank first.
    """
    if np.isnan(values).any():
        raise WorkspaceError(
            "the network puts out NaN: its weights are damaged, or its input is not what it expects"
        )
    limit = np.finfo(np.float16).max
    return np.clip(values, -limit, limit).astype(np.float16)


def places(ascending: Ids, wanted: Ids) -> NDArray[np.int64]:
    """Return the position of each wanted id in an ascending array.

    Raises:
        WorkspaceError: an id is not there; never another image's position.
    """
    found = np.searchsorted(ascending, wanted)
    inside = found < len(ascending)
    if not (inside.all() and np.array_equal(ascending[found], wanted)):
        raise WorkspaceError(
            "images were added or removed while this command ran: run the same command again"
        )
    return found


def write_part(workspace: Path, store: str, number: int, ids: Ids, rows: Rows) -> Part:
    """Write one part of rows; see `write_arrays`."""
    return write_arrays(workspace, store, number, ids, {"rows": rows}, rows.shape[1])


def write_arrays(
    workspace: Path, store: str, number: int, ids: Ids, arrays: Arrays, width: int
) -> Part:
    """Write one part, fsynced and renamed; it counts once the catalog records it.

    An older file of this number is a leftover of an interrupted run: it was never recorded.

    Args:
        arrays: what it holds of its images, (n, ...) each.
        width: values a row, before whatever makes them fewer in the file.
    """
    path = workspace / store / f"part-{number:05d}.npz"
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, ids=ids, **arrays)  # type: ignore[arg-type]  # no array is a flag
    return Part(store, number, len(ids), width, path.stat().st_size, file_sha256(path))


def move_part(workspace: Path, part: Part, store: str, number: int) -> Part:
    """Move a part that was written elsewhere in the workspace to where it is to be recorded.

    Raises:
        WorkspaceError: it is not there, or not as long as whoever wrote it says.
    """
    moved = replace(part, store=store, part=number)
    source, target = part.path(workspace), moved.path(workspace)
    if not source.is_file() or source.stat().st_size != part.bytes:
        raise WorkspaceError(
            f"{source} is not what a worker wrote there: {workspace} has to lie on a file system "
            "that all machines share"
        )
    rename(source, target)
    return moved


def record_part(connection: duckdb.DuckDBPyConnection, part: Part) -> None:
    """Record a part in the catalog, inside the caller's transaction."""
    insert(connection, "parts", {name: [value] for name, value in vars(part).items()})


def list_parts(connection: duckdb.DuckDBPyConnection, store: str) -> list[Part]:
    """List a store's recorded parts in order."""
    rows = connection.execute(
        "SELECT store, part, rows, width, bytes, sha256 FROM parts WHERE store = ? ORDER BY part",
        [store],
    ).fetchall()
    return [Part(*row) for row in rows]


def all_parts(connection: duckdb.DuckDBPyConnection) -> list[Part]:
    """List the recorded parts of every store in order."""
    rows = connection.execute(
        "SELECT store, part, rows, width, bytes, sha256 FROM parts ORDER BY store, part"
    ).fetchall()
    return [Part(*row) for row in rows]


def next_number(connection: duckdb.DuckDBPyConnection, store: str) -> int:
    """Return the number that the store's next part gets."""
    parts = list_parts(connection, store)
    return parts[-1].part + 1 if parts else 0


def read_part(workspace: Path, part: Part) -> tuple[Ids, Rows]:
    """Read a part of rows: ids (n,) int64 and rows (n, width) float16; errors as `read_arrays`."""
    arrays = read_arrays(workspace, part, ("ids", "rows"))
    return arrays["ids"], arrays["rows"]


def read_arrays(workspace: Path, part: Part, names: Iterable[str] | None = None) -> Arrays:
    """Read these arrays of a part, or all.

    Raises:
        WorkspaceError: the file is gone, not as long as the catalog recorded, or unreadable.
    """
    with _opened(workspace, part) as arrays:
        return {name: arrays[name] for name in names or arrays.files}


def map_rows(workspace: Path, part: Part) -> Rows:
    """Map a part's rows (n, width) into memory: what is used of them is read, and nothing checked.

    Raises:
        WorkspaceError: as `read_arrays`, or its header tells of other rows than were recorded.
    """
    path = part.path(workspace)
    with _opened(workspace, part) as arrays:
        begin = arrays.zip.getinfo("rows.npy").header_offset
        with arrays.zip.open("rows.npy") as member:
            np.lib.format.read_magic(member)
            shape, _, dtype = np.lib.format.read_array_header_1_0(member)
            within = member.tell()
        if shape != (part.rows, part.width):
            raise ValueError(f"{shape} in place of {(part.rows, part.width)}")
        # np.savez stores arrays as they are, each behind a header of ZIP and one of NumPy.
        with path.open("rb") as file:
            file.seek(begin + _ZIP_LENGTHS)
            lengths = struct.unpack("<HH", file.read(4))
        offset = begin + _ZIP_LENGTHS + 4 + sum(lengths) + within
        return np.memmap(path, dtype, "r", offset=offset, shape=shape)


def pick_rows(
    part_of: NDArray[np.int64],
    row_of: NDArray[np.int64],
    width: int,
    rows_of: Callable[[int], Rows],
) -> Rows:
    """Return the rows (n, width) that stand in these parts (n,) at these places (n,), in order.

    Args:
        rows_of: returns the rows of a part, such as `map_rows`; asked once for each.

    Raises:
        WorkspaceError: as `rows_of`.
    """
    picked: Rows = np.empty((len(part_of), width), np.float16)
    order = np.lexsort((row_of, part_of))  # so that a file is read from its beginning to its end
    numbers, starts = np.unique(part_of[order], return_index=True)
    for number, here in zip(numbers.tolist(), np.split(order, starts)[1:], strict=True):
        picked[here] = rows_of(number)[row_of[here]]
    return picked


def array_names(workspace: Path, part: Part) -> frozenset[str]:
    """Return the names of a part's arrays, without reading them; errors as `read_arrays`."""
    with _opened(workspace, part) as arrays:
        return frozenset(arrays.files)


@contextmanager
def _opened(workspace: Path, part: Part) -> Iterator[Any]:
    path = part.path(workspace)
    damaged = WorkspaceError(
        f"{path} is missing or damaged: `kdcurate verify -w {workspace}` names every such file"
    )
    if not path.is_file() or path.stat().st_size != part.bytes:
        raise damaged
    try:
        with np.load(path, allow_pickle=False) as arrays:
            yield arrays
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise WorkspaceError(
                f"{path} cannot be opened ({error.strerror}): raise the limit (ulimit -n)"
            ) from error
        raise damaged from error
    except Exception as error:  # zipfile and NumPy raise nearly anything on damaged bytes
        raise damaged from error


def read_live(catalog: Catalog, part: Part) -> tuple[Ids, Rows]:
    """Read those rows of a part that the catalog refers to, in their order: ids (n,), rows (n, w).

    A part may hold more: of images that are forgotten, or left by a build beside a busy catalog.

    Raises:
        WorkspaceError: as `read_part`.
    """
    live = live_rows(catalog, part)
    ids, rows = read_part(catalog.workspace, part)
    return ids[live], rows[live]


def live_rows(catalog: Catalog, part: Part) -> NDArray[np.int64]:
    """Return the places of the rows that the catalog refers to, ascending; see `read_live`."""
    kind, owner, *_ = part.store.split("/")
    table, column = _REFERRED_BY[kind]
    query = f'SELECT "row" FROM {table} WHERE {column} = ? AND part = ? ORDER BY 1'
    with catalog.read() as connection:
        found = connection.execute(query, [owner, part.part]).fetchnumpy()
    return np.asarray(found["row"], dtype=np.int64)


def damaged_parts(workspace: Path, parts: list[Part]) -> Iterator[Path]:
    """Yield the files whose bytes are not those that the catalog recorded."""
    for part in parts:
        path = part.path(workspace)
        if not path.is_file() or file_sha256(path) != part.sha256:
            yield path
