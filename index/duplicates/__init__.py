"""Which images show the same thing: groups by embedding, and by perceptual hash."""

from index.duplicates.embedding import near_duplicate_groups
from index.duplicates.perceptual import perceptual_groups

__all__ = ["near_duplicate_groups", "perceptual_groups"]
