"""The teacher's classes as texts, in the space of an open_clip embedder's vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from curate.search import choose_embedder
from distill.networks import Card, load_embedder
from index.catalog import Catalog, one
from index.errors import UsageError
from index.vectors import Vectors, unit_norm

CLIP_TEXT = "clip_text"
PROMPT = "a photo of a {}"
_TEXTS_AT_ONCE = 64


def class_prompts(catalog: Catalog, teacher: str, embedder: str) -> Vectors:
    """Embed "a photo of a CLASS" for each class of the teacher: unit-norm vectors (K, D).

    The names are those of the teacher's card; an underscore in them is a space.

    Raises:
        UsageError: the embedder is no open_clip model, or the teacher's card names no classes.
        NetworkError: the embedder's weights cannot be loaded.
    """
    _, card = choose_embedder(catalog, embedder)
    with catalog.read() as connection:
        row = one(connection, "SELECT classes FROM models WHERE key = ?", [teacher])
    names = check_prompts(card, teacher, row[0] if row else None)
    texts = [PROMPT.format(name.replace("_", " ")) for name in names]
    network = load_embedder(card)
    batches = [
        network.embed_text(texts[start : start + _TEXTS_AT_ONCE])
        for start in range(0, len(texts), _TEXTS_AT_ONCE)
    ]
    return unit_norm(np.concatenate(batches))


def check_prompts(embedder: Card, teacher: str, classes: Sequence[str] | None) -> Sequence[str]:
    """Return the names of the classes, if there are any and the embedder reads text.

    Raises:
        UsageError: as `class_prompts`; neither needs an image to be scored.
    """
    if not embedder.architecture.startswith("open_clip:"):
        raise UsageError(
            f"clip_text needs an index made with an open_clip embedder, this one is of "
            f"{embedder.architecture}: run build-index with --embedder open_clip:MODEL/TAG-or-file "
            "into another workspace"
        )
    if not classes:
        raise UsageError(
            f"clip_text needs the names of {teacher}'s classes: add classes = [...] to its card"
        )
    return classes
