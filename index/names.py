"""Names that people give: of runs, manifests, and comparisons."""

from __future__ import annotations

from index.errors import UsageError

# A run's name is that of its folder and begins the names of files, also while they are written:
# file systems take 255 bytes.
LONGEST = 200


def check_name(option: str, name: str | None, *, longest: int | None = None) -> None:
    """Refuse a name that is none, or has more bytes than the `longest`; None is none given.

    Raises:
        UsageError: it is; the message names the option.
    """
    if name is None:
        return
    if not name.strip():
        raise UsageError(f"{option} is empty: give a name")
    if "\0" in name:
        raise UsageError(f"{option} {name!r} has a NUL character in it: give another name")
    if longest is not None and (size := _bytes_of(name)) > longest:
        raise UsageError(
            f"{option} has {size} bytes, and a name may have {longest}: give a shorter one"
        )


def shortened(name: str, bytes: int) -> str:
    """Return as much of the beginning of a name as fits into so many bytes."""
    if _bytes_of(name) <= bytes:
        return name
    return name.encode(errors="surrogatepass")[:bytes].decode(errors="ignore")


def _bytes_of(name: str) -> int:
    return len(name.encode(errors="surrogatepass"))
