"""The open_clip family: image and text towers, used to embed images and to search by text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from distill.networks.input import InputSpec
from index.errors import NetworkError


def names() -> list[str]:
    """Names of open_clip's architectures."""
    import open_clip

    models: list[str] = open_clip.list_models()
    return models


def refuse_classifier(name: str, num_classes: int | None, options: Mapping[str, Any]) -> nn.Module:
    """Say that a CLIP model has no logits."""
    raise NetworkError("a CLIP model has no classifier: it can embed, but not teach or learn")


def default_input(name: str, options: Mapping[str, Any]) -> InputSpec:
    """Input of ``MODEL/TAG``: the model's size and the tag's channel statistics."""
    import open_clip

    model, _, tag = name.partition("/")
    size = open_clip.get_model_config(model)["vision_cfg"]["image_size"]
    config = open_clip.get_pretrained_cfg(model, tag) or {} if tag else {}
    return InputSpec(
        size=size[0] if isinstance(size, list | tuple) else size,
        mean=config.get("mean", open_clip.OPENAI_DATASET_MEAN),
        std=config.get("std", open_clip.OPENAI_DATASET_STD),
        interpolation=config.get("interpolation", "bicubic"),
    )


class ClipTowers(nn.Module):
    """An open_clip model with weights: ``forward`` embeds images, ``embed_text`` texts.

    Args:
        name: MODEL, or MODEL/TAG where TAG names weights that open_clip can download.
        weights: a weight file; it or the tag must be there.

    Raises:
        NetworkError: no weights (open_clip would silently give a random model), or bad ones.
    """

    def __init__(self, name: str, weights: str | None, options: Mapping[str, Any]) -> None:
        super().__init__()
        import open_clip

        model, _, tag = name.partition("/")
        if not (weights or tag):
            raise NetworkError(
                f"open_clip:{model} without weights would be random: name a tag or a file, "
                f"as in open_clip:{model}/FILE"
            )
        try:
            self.model = open_clip.create_model(model, pretrained=weights or tag, **options)
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            message = f"open_clip:{model}: cannot load {weights or tag} ({reason})"
            raise NetworkError(message) from error
        self.name = model

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (B, 3, S, S) to vectors (B, D)."""
        vectors: Tensor = self.model.encode_image(images)
        return vectors

    def embed_text(self, texts: list[str]) -> Tensor:
        """Map texts to vectors (B, D) in the space of the images."""
        import open_clip

        # Only here, because some models' tokenisers are downloaded.
        tokens = open_clip.get_tokenizer(self.name)(texts)
        device = next(self.parameters()).device
        with torch.inference_mode():
            vectors: Tensor = self.model.encode_text(tokens.to(device))
        return vectors
