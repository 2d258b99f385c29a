"""What `select --dry-run` prints: what the networks have to score, and what is kept of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from index.catalog import Catalog

# Bytes of the catalog and of raw shifts that a scored image takes beside its logits.
_BESIDE = 152


def plan_selection(
    catalog: Catalog, teacher: str, student: str | None, logits: str | None
) -> dict[str, Any]:
    """Say what is still to be scored, and how much disk that takes.

    Raises:
        UsageError: logits are not to be kept in such a way.
    """
    from curate.compact import ALLOWS, bytes_an_image
    from curate.modes import settled_mode
    from curate.scoring import unscored_count
    from distill.networks import load_network

    plan: dict[str, Any] = {"workspace": str(catalog.workspace)}
    for role, card in (("teacher", teacher), ("student", student)):
        if card:
            network = load_network(card)
            missing = unscored_count(catalog, network.key)
            plan[role] = network.key
            plan[f"images_to_score_with_{role}"] = missing
            classes = network.num_classes
            mode = settled_mode(catalog, network.key, classes, logits)
            size = bytes_an_image(mode, classes)
            plan[f"disk_mb_for_{role}"] = round(missing * (size + _BESIDE) / 1e6, 1)
            plan[f"logits_of_{role}"] = f"{mode}: {size:,} bytes an image; {ALLOWS[mode]}"
    return plan
