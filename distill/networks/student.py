"""Writing a trained student so that it loads as any other network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file

from distill.networks.card import write_card
from distill.networks.network import Network
from index.files import atomic_path


def save_student(
    network: Network, directory: Path, *, provenance: Mapping[str, str], name: str = "student"
) -> Path:
    """Write ``student.safetensors`` and ``student.toml`` (or another name); return the card's path.

    ``provenance`` (hashes of manifest and teacher, ...) stands in the card and, as JSON under the
    key ``provenance``, in the weights' metadata. Each file appears whole or not at all, the card
    last.
    """
    weights, card_path = directory / f"{name}.safetensors", directory / f"{name}.toml"
    state = network.module.state_dict()
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    with atomic_path(weights) as temporary:
        # Under one key: safetensors writes several in a random order, and a network's key hashes
        # these bytes.
        facts = json.dumps(dict(provenance), sort_keys=True)
        save_file(tensors, temporary, metadata={"provenance": facts})
    card = network.card.model_copy(
        update={"weights": str(weights.resolve()), "provenance": dict(provenance)}
    )
    with atomic_path(card_path) as temporary:
        write_card(card, temporary)
    return card_path
