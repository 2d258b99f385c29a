"""Which FAISS index: chosen by number of vectors, dimension and memory; says why in words."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from index.errors import UsageError
from index.faissing import faiss_module

AUTO = "auto"
# Keeps the image ids, 8 bytes a vector. IDMap2 finds vectors by id too, which nothing asks for, and
# makes a map for that in memory whenever the file is opened: some 40 bytes a vector more.
WRAPPER = "IDMap"
EXACT = f"{WRAPPER},Flat"
MEMORY_BUDGET = 4 * 10**9
RECALL = 0.95
EXACT_UP_TO = 200_000
TRAINING_BYTES = 1 << 30

_LINKS = 32
_POINTS_A_CENTROID = 39  # below, FAISS warns that its k-means has too few
_CODE_BYTES = (128, 64, 32, 16, 8, 4, 2)
_FIXED = 1024  # headers, and whatever else does not grow
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


@dataclass(frozen=True)
class IndexSettings:
    """What was asked for: `auto` or an index_factory string, bytes, a seed, and recall@10."""

    index: str = AUTO
    memory_budget: int = MEMORY_BUDGET
    seed: int = 0
    recall: float = RECALL

    def check(self) -> None:
        """Check what does not depend on the vectors.

        Raises:
            UsageError: a recall that is no share.
        """
        if not 0 < self.recall <= 1:
            raise UsageError(f"--recall is {self.recall:g}: it is a share, such as 0.95 or 0.999")


@dataclass(frozen=True)
class Choice:
    """An index_factory string, why it was chosen, and the bytes that it is expected to take."""

    factory: str
    reason: str
    bytes: int | None = None


def choose(count: int, dim: int, budget: int) -> Choice:
    """Choose the most faithful index of `count` vectors of `dim` components that fits `budget`.

    With n vectors of d components, each index adds 8 n bytes for the image ids (IDMap):

    * `Flat`, exact, up to 200,000 vectors: 4 d n. Comparing each with all, as near-duplicates
      does, takes n^2 d multiplications: minutes up to there, hours beyond.
    * `HNSW32`, full vectors and a graph: (4 d + 272) n; the graph has 2*32 links of 4 bytes on
      the ground, 32 for every 1/31 vector above, 4 bytes of level and 8 of offset.
    * `IVF L,SQ8`, one byte a component: (d + 8) n + L (4 d + 8) + 8 d.
    * `OPQ M_D,IVF L,PQ M`, M bytes a vector: (M + 8) n + L (4 D + 8) + 1024 D + 4 d D;
      M is the largest of 128, 64, ..., 2 that fits, D the largest multiple of M up to d.

    L is a power of two near 4 sqrt(n), at least 39 training vectors each. This is the index as
    opened; while it is built, FAISS's growing arrays take up to twice that, and training a sample
    of at most 1 GiB.

    Raises:
        UsageError: nothing fits; says what the smallest takes.
    """
    flat, graph = flat_bytes(count, dim), hnsw_bytes(count, dim)
    within = f"of the {_size(budget)} that it may"
    if count <= EXACT_UP_TO and flat <= budget:
        return Choice(EXACT, f"exact search; takes {_size(flat)} {within}", flat)
    if count > EXACT_UP_TO and graph <= budget:
        why = f"{count:,} vectors are past {EXACT_UP_TO:,}, where exact search gets slow; full"
        reason = f"{why} vectors and a graph take {_size(graph)} {within}"
        return Choice(f"{WRAPPER},HNSW{_LINKS}", reason, graph)
    better = ("full vectors", flat) if count <= EXACT_UP_TO else ("full vectors and a graph", graph)
    too_much = f"{better[0]} would take {_size(better[1])}, more than the {_size(budget)} it may"
    lists = list_count(count, dim)
    scalar = sq8_bytes(count, dim, lists)
    if scalar <= budget:
        reason = f"{too_much}; one byte a component takes {_size(scalar)}"
        return Choice(f"{WRAPPER},IVF{lists},SQ8", reason, scalar)
    smallest = scalar
    for code in _CODE_BYTES if count >= 256 * _POINTS_A_CENTROID else ():
        if code <= dim // 2:
            width = dim // code * code
            smallest = pq_bytes(count, dim, lists, code)
            if smallest <= budget:
                factory = f"{WRAPPER},OPQ{code}_{width},IVF{lists},PQ{code}"
                reason = f"{too_much}; {code} bytes a vector take {_size(smallest)}"
                return Choice(factory, reason, smallest)
    raise UsageError(
        f"no index of {count:,} vectors of {dim} components fits into {_size(budget)}: the "
        f"vectors are kept, run the same command with --memory-budget {_size(smallest, up=True)}"
    )


def flat_bytes(count: int, dim: int) -> int:
    """Bytes of `IDMap,Flat`."""
    return count * (4 * dim + 8) + _FIXED


def hnsw_bytes(count: int, dim: int, links: int = _LINKS) -> int:
    """Bytes of `IDMap,HNSW{links}`."""
    graph = 4 * 2 * links + 4 * links / (links - 1) + 4 + 8
    return flat_bytes(count, dim) + int(count * graph)


def sq8_bytes(count: int, dim: int, lists: int) -> int:
    """Bytes of `IDMap,IVF{lists},SQ8`."""
    return count * (dim + 16) + lists * (4 * dim + 8) + 8 * dim + _FIXED


def pq_bytes(count: int, dim: int, lists: int, code: int) -> int:
    """Bytes of `IDMap,OPQ{code}_D,IVF{lists},PQ{code}`."""
    width = dim // code * code
    books = 4 * 256 * width + 4 * dim * width
    return count * (code + 16) + lists * (4 * width + 8) + books + _FIXED


def list_count(count: int, dim: int) -> int:
    """Number of inverted lists: a power of two near 4 sqrt(n) that a training sample can fill."""
    trainable = min(count, TRAINING_BYTES // (4 * dim)) // _POINTS_A_CENTROID
    nearest = round(math.log2(max(1.0, 4 * count**0.5)))
    return 1 << min(nearest, max(1, trainable).bit_length() - 1)


def training_count(count: int, dim: int, lists: int) -> int:
    """Number of vectors to train on: enough for every centroid, at most 1 GiB."""
    return min(count, TRAINING_BYTES // (4 * dim), max(65_536, 50 * lists))


def still_right(factory: str, choice: Choice) -> bool:
    """Tell whether an index built as `factory` may grow on where `choice` would be made today.

    It may unless the kind changed, or the lists became four times too few (16 times the vectors).
    """
    lists = re.compile(r"IVF(\d+)")
    if lists.sub("IVF", factory) != lists.sub("IVF", choice.factory):
        return False
    has, wants = lists.search(factory), lists.search(choice.factory)
    return not (has and wants) or int(wants[1]) < 4 * int(has[1])


def asked_factory(text: str, dim: int) -> str:
    """Check an index_factory string against FAISS; return it wrapped in IDMap.

    Raises:
        UsageError: FAISS's reason, in one line.
    """
    factory = wrapped(text.strip())
    faiss = faiss_module()
    try:
        faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    except (RuntimeError, MemoryError) as error:
        raise UsageError(
            f"--index {text!r} makes no FAISS index of {dim} components ({faiss_reason(error)}): "
            "try auto, Flat, HNSW32, 'IVF4096,SQ8' or 'OPQ64_256,IVF4096,PQ64'"
        ) from error
    return factory


def wrapped(factory: str) -> str:
    """Return an index_factory string in today's wrapper, whatever wrapped it before."""
    return f"{WRAPPER},{re.sub(r'^(IDMap2?,)+', '', factory)}"


def faiss_reason(error: Exception) -> str:
    """Return what a FAISS exception says, without the place in its source."""
    said = " ".join(str(error).split())
    return re.sub(r"^Error in .*? at \S+:\d+: (Error: )?", "", said)


def parse_size(text: str) -> int:
    """Read a size such as 4GB, 512 MiB or 1e9, in bytes.

    Raises:
        UsageError: it is none, or not above zero.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?(?:e\d+)?)\s*([a-z]*)\s*", text, re.IGNORECASE)
    unit = _UNITS.get(found[2].upper()) if found else None
    size = int(float(found[1]) * unit) if found and unit else 0
    if size <= 0:
        raise UsageError(f"--memory-budget {text!r} is no size: write 4GB, 512MB or 2GiB")
    return size


def _size(count: int, *, up: bool = False) -> str:
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "KB")):
        if count >= unit:
            return f"{-(-count * 10 // unit) / 10:g}{name}" if up else f"{count / unit:.3g} {name}"
    return f"{count}B" if up else f"{count} B"
