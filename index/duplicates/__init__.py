"""Which images show the same thing: groups by embedding, and by perceptual hash."""

from index.duplicates.embedding import check_cosine, near_duplicate_groups
from index.duplicates.perceptual import check_bits, perceptual_groups
from index.duplicates.store import (
    EMBEDDING,
    PERCEPTUAL,
    Groups,
    find_by_embedding,
    find_by_hash,
    merge_groups,
)

__all__ = [
    "EMBEDDING",
    "PERCEPTUAL",
    "Groups",
    "check_bits",
    "check_cosine",
    "find_by_embedding",
    "find_by_hash",
    "merge_groups",
    "near_duplicate_groups",
    "perceptual_groups",
]
