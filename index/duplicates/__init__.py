"""Which images show the same thing: groups by embedding, and by perceptual hash."""

from index.duplicates.embedding import check_cosine, first_embedder, near_duplicate_groups
from index.duplicates.listing import EXACT, KINDS, Group, Listing, list_exact, list_stored
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
    "EXACT",
    "KINDS",
    "PERCEPTUAL",
    "Group",
    "Groups",
    "Listing",
    "check_bits",
    "check_cosine",
    "find_by_embedding",
    "find_by_hash",
    "first_embedder",
    "list_exact",
    "list_stored",
    "merge_groups",
    "near_duplicate_groups",
    "perceptual_groups",
]
