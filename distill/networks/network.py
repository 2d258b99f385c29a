"""A network: any image classifier, with its card and its inner values within reach."""

from __future__ import annotations

import copy
import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from distill.networks import zoo
from distill.networks.card import Card, resolve
from distill.networks.input import InputSpec
from distill.networks.replay import Replay
from distill.networks.shared import SharedClassifierNet
from distill.networks.taps import Call, find_taps, watch
from distill.networks.weights import load_weights
from index.errors import NetworkError
from index.files import file_sha256


@dataclass(frozen=True)
class Outputs:
    """What one forward pass gives.

    ``logits`` (B, K); ``penultimate`` (B, D), the final linear layer's input; ``features``
    (B, C, H, W), the map whose spatial mean the penultimate vector is, or None without one.
    """

    logits: Tensor
    features: Tensor | None
    penultimate: Tensor


class Network(nn.Module):
    """A classifier (``module``) with its card; ``forward`` maps images (B, 3, S, S) to logits.

    Raises:
        NetworkError: the module is no classifier that ends in a linear layer, or its number of
            classes is not the card's.
    """

    def __init__(self, module: nn.Module, card: Card) -> None:
        super().__init__()
        self.module = module
        self.card = card
        self._replay: Replay | None = None
        try:
            self.taps = find_taps(module, card.input.size)
        except NetworkError as error:
            raise NetworkError(f"{card.architecture}: {error}") from error
        if card.class_count not in (None, self.num_classes):
            raise NetworkError(
                f"{card.architecture}: {self.num_classes} logits but {card.class_count} classes"
            )

    @property
    def classifier(self) -> nn.Linear:
        """The final linear layer, weight (K, D)."""
        layer = self.module.get_submodule(self.taps.classifier)
        assert isinstance(layer, nn.Linear)
        return layer

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        return self.classifier.out_features

    @property
    def feature_channels(self) -> int | None:
        """Channels C of the feature map; None where there is no map."""
        return self.taps.map_shape[0] if self.taps.map_shape else None

    @property
    def feature_size(self) -> int | None:
        """Side of the feature map at the card's input size; None where there is no map."""
        return self.taps.map_shape[-1] if self.taps.map_shape else None

    @functools.cached_property
    def key(self) -> str:
        """Name of this network in file names and tables; see ``network_key``."""
        return network_key(self.card)

    def check_trains(self, images: int = 2) -> None:
        """Check that it puts out logits of so many images in training mode too; it stays as it is.

        Raises:
            NetworkError: it does not run so at its card's size, or puts out something beside them.
        """
        side = self.card.input.size
        module = copy.deepcopy(self.module).train()  # its running statistics may change
        auxiliary = getattr(module, "aux_logits", False)  # as torchvision's Inception has them
        remedy = "leave its auxiliary ones out (?aux_logits=false)" if auxiliary else "take another"
        what = f"images of {side} pixels"
        if images == 1:
            what = "one image at a time"
            remedy = "raise --batch-size, select more, or lower --accumulate or the processes"
        try:
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                found = module(self.classifier.weight.new_zeros(images, 3, side, side))
        except (RuntimeError, AssertionError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise NetworkError(
                f"the student {self.card.architecture} does not train on {what} ({reason}): "
                f"{remedy}"
            ) from error
        if not isinstance(found, Tensor):
            raise NetworkError(
                f"the student {self.card.architecture} puts out {type(found).__name__} in "
                f"training, not logits alone: {remedy}"
            )

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (B, 3, S, S) to logits (B, K)."""
        logits: Tensor = self.module(images)
        return logits

    def read(self, images: Tensor, paths: Sequence[str] = ()) -> tuple[Tensor, dict[str, Call]]:
        """Run one forward pass: the logits, and the calls of the submodules at these paths."""
        if self._replay and images.is_cuda and not torch.is_grad_enabled():
            return self._replay(images, paths)
        return self._run(images, paths)

    def replay(self) -> None:
        """Let what `read` does without gradients on CUDA be recorded once and replayed.

        For a network that stays as it is and where it is: neither mode nor device changes.
        """
        self._replay = Replay(self._run)

    def _run(self, images: Tensor, paths: Sequence[str]) -> tuple[Tensor, dict[str, Call]]:
        with watch(self.module, paths) as calls:
            logits = self(images)
        return logits, calls

    def outputs(self, images: Tensor) -> Outputs:
        """Run one forward pass and keep the inner values too."""
        classifier, features = self.taps.classifier, self.taps.features
        paths = [classifier] if features is None else [classifier, features]
        logits, calls = self.read(images, paths)
        penultimate = calls[classifier].input
        assert penultimate is not None
        found = calls[features].output if features is not None else None
        return Outputs(logits, found, penultimate)


def load_network(
    source: str | Path | Card,
    *,
    num_classes: int | None = None,
    input: InputSpec | None = None,
    seed: int = 0,
    allow_random: bool = False,
) -> Network:
    """Build the network of a spec, a TOML card's path or a card, with its weights, in eval mode.

    Args:
        source: what to build.
        num_classes: number of classes K where the card does not say it.
        input: replaces the card's input, as for a student that sees what its teacher sees.
        seed: of the random weights.
        allow_random: whether a network without weights is wanted, as a student at its start is.

    Raises:
        NetworkError: unknown architecture, unfit weights, or none where they must be.
    """
    card = _complete(resolve(source), num_classes, input)
    if not (card.weights or card.options.get("pretrained") or allow_random):
        raise NetworkError(
            f"{card.architecture} without weights would be random: write a card with `weights`, "
            "or add ?pretrained=true"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = _build(card)
    if card.weights:
        load_weights(module, Path(card.weights))
    return Network(module, card).eval()


def network_key(card: Card) -> str:
    """Name a network after its architecture and what it computes, as ``resnet20-1a2b3c4d``.

    The digits change with architecture, options, bytes of the weight file (for a student these
    hold its provenance too), input and head; they do not with paths or names of classes.
    """
    identity = {
        "architecture": card.architecture,
        "options": card.options,
        "weights": _sha256(Path(card.weights)) if card.weights else None,
        "input": card.input.model_dump(),
        "head": card.head.model_dump() if card.head else None,
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode())
    return f"{zoo.short_name(card.architecture)}-{digest.hexdigest()[:8]}"


def _complete(card: Card, num_classes: int | None, input: InputSpec | None) -> Card:
    if card.class_count is not None and num_classes not in (None, card.class_count):
        raise NetworkError(
            f"{card.architecture}: its card says {card.class_count} classes, not {num_classes}"
        )
    return card.model_copy(
        update={
            "num_classes": card.class_count or num_classes,
            "input": input or card.input,
        }
    )


def _build(card: Card) -> nn.Module:
    options = card.options
    if card.weights:
        options = {name: value for name, value in options.items() if name != "pretrained"}
    module = zoo.build(card.architecture, card.num_classes, options)
    if card.head is None:
        return module
    return SharedClassifierNet(module, find_taps(module, card.input.size), card.head)


def _sha256(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise NetworkError(f"{path}: cannot read these weights ({error.strerror})") from error
