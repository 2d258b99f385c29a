"""Names that people give: some, and not longer than files may be called."""

from __future__ import annotations

from pathlib import Path

import pytest

from index.errors import UsageError
from index.names import LONGEST, check_name, shortened


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "--run is empty: give a name"),
        (" \t", "--run is empty: give a name"),
        ("a\0b", r"--run 'a\\x00b' has a NUL character in it"),
        ("a" * 268, f"--run has 268 bytes, and a name may have {LONGEST}: give a shorter one"),
        ("\u00e9" * 101, "--run has 202 bytes"),
    ],
)
def test_what_is_no_name_is_refused(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_name("--run", name, longest=LONGEST)


def test_other_names_are_taken(tmp_path: Path) -> None:
    for name in (None, "a", "a b", "\u00e9" * 100, "a" * LONGEST):
        check_name("--run", name, longest=LONGEST)
    check_name("--name", "a" * 300)  # of no file
    (tmp_path / f".{'a' * LONGEST}.jsonl.{2**22}.tmp").touch()


def test_a_name_is_cut_between_characters() -> None:
    assert shortened("abc", 3) == "abc"
    assert shortened("abc", 2) == "ab"
    assert shortened("a\u00e9\u00e9", 4) == "a\u00e9"
