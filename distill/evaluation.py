"""How good a network is on labelled images, as they are and corrupted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from distill.corruptions import Corruption
from distill.labelled import LabelledImages, batch_of, read_labelled
from distill.networks import Network, map_batches
from distill.tally import Evaluation, Tally
from index.decoding import Pixels
from index.errors import UsageError

__all__ = ["Evaluation", "Report", "evaluate", "evaluate_on", "predict"]

Device = torch.device | str
# A batch, and the same images as the teacher sees them.
Pair = tuple[LabelledImages, LabelledImages]


@dataclass(frozen=True, eq=False)
class Report:
    """What a network makes of labelled data, and of each corrupted copy of it."""

    clean: Evaluation
    shifted: list[tuple[Corruption, Evaluation]]


def evaluate(
    network: Network, data: LabelledImages, device: Device = "cpu", teacher: Network | None = None
) -> Evaluation:
    """Compare a network's answers with labels, in float32, and with a teacher's of its input.

    Raises:
        DataError: a label that the network has no class for.
    """
    return _report(network, iter([(data, data)]), device, teacher, []).clean


def evaluate_on(
    network: Network,
    source: str,
    device: Device = "cpu",
    *,
    teacher: Network | None = None,
    corruptions: Sequence[Corruption] = (),
) -> Report:
    """Evaluate on labelled data, read batch by batch; see `distill.labelled`.

    Each network sees the view that its own card asks for, and corruptions happen to that view.

    Raises:
        DataError: no labels, an image that cannot be decoded, or a label without a class.
        UsageError: the teacher has other classes.
    """
    if teacher is not None:
        _check_classes(network, teacher)
    return _report(network, _pairs(network, teacher, source), device, teacher, corruptions)


def predict(network: Network, pixels: Pixels, device: Device = "cpu") -> NDArray[np.float32]:
    """Return logits (N, K) of pixels (N, S, S, 3)."""
    training = network.training
    network.eval()
    rows = map_batches(
        lambda images: network(images).float().cpu(), pixels, network.card.input, device
    )
    network.train(training)
    logits: NDArray[np.float32] = torch.cat(rows).numpy()
    return logits


def _check_classes(network: Network, teacher: Network) -> None:
    if teacher.num_classes != network.num_classes:
        raise UsageError(
            f"the teacher has {teacher.num_classes} classes, the network {network.num_classes}: "
            "agreement needs the same ones"
        )
    for one, other in zip(network.card.classes or (), teacher.card.classes or (), strict=False):
        if one != other:
            raise UsageError(
                f"the network's class {one!r} is the teacher's {other!r}: agreement needs the same "
                "classes in the same order"
            )


def _pairs(network: Network, teacher: Network | None, source: str) -> Iterator[Pair]:
    view, classes = network.card.input.view(), network.card.classes
    seen = teacher.card.input.view() if teacher else view
    batch = batch_of(view, seen)
    own = read_labelled(source, view, classes, batch)
    if seen == view:
        yield from ((images, images) for images in own)
    else:
        yield from zip(own, read_labelled(source, seen, classes, batch), strict=True)


def _report(
    network: Network,
    pairs: Iterator[Pair],
    device: Device,
    teacher: Network | None,
    corruptions: Sequence[Corruption],
) -> Report:
    copies: list[Corruption | None] = [None, *corruptions]
    tallies = [Tally(network.num_classes) for _ in copies]
    for own, seen in pairs:
        for corruption, tally in zip(copies, tallies, strict=True):
            logits = predict(network, _seen(own.pixels, corruption), device)
            said = None
            if teacher is not None:
                pixels = _seen(seen.pixels, corruption)
                said = predict(teacher, pixels, device).argmax(axis=1)
            tally.add(logits, own.labels, said)
    clean, *shifted = [tally.result(with_teacher=teacher is not None) for tally in tallies]
    return Report(clean, list(zip(corruptions, shifted, strict=True)))


def _seen(pixels: Pixels, corruption: Corruption | None) -> Pixels:
    return pixels if corruption is None else corruption(pixels)
