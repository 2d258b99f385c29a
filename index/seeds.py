"""What may be a seed of everything random."""

from __future__ import annotations

from index.errors import UsageError


def check_seed(seed: int) -> None:
    """Refuse what PyTorch, NumPy and DuckDB do not all take.

    Raises:
        UsageError: the seed is negative or too large.
    """
    if not 0 <= seed < 2**63:
        raise UsageError(f"--seed is {seed}: it must lie between 0 and 2^63 - 1")
