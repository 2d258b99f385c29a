"""Networks as curation uses them: scorers of the pool, registered in the catalog."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from curate.modes import settled_mode
from curate.pool import Pool
from curate.prompts import CLIP_TEXT, check_prompts
from curate.reference_images import load_reference
from curate.scoring import Scorer, score_pool
from curate.search import choose_embedder
from curate.shift import update_shifts
from distill.moments import MomentTaps
from distill.networks import Network, load_network, map_batches, register
from distill.rowspace import RowSpace
from index.catalog import Catalog
from index.decoding import Pixels
from index.duplicates import first_embedder
from index.errors import NetworkError, UsageError
from index.parts import Rows, half
from index.progress import Progress


def scored_pool(
    catalog: Catalog,
    teacher: str,
    student: str | None = None,
    *,
    needs: Collection[str] = (),
    reference: Sequence[str] = (),
    device: str = "cpu",
    workers: int | None = None,
    logits: str | None = None,
    progress: Progress | None = None,
) -> Pool:
    """Score with teacher and student what they have not scored yet; return the pool as they see it.

    `needs` are the signals that it is scored for: what none of these networks can give is refused
    before anything is read. `reference` names the sources of its reference set, see
    `curate.reference_images`; `logits` says how much of the networks' is kept: None as there is,
    or all; see `curate.compact`.

    Raises:
        DataError: no image of the reference can be read.
        NetworkError: a card or spec that cannot be loaded.
        UsageError: the two have different numbers of classes, or logits that are there are kept
            otherwise than asked, or a need that these networks cannot meet.
        WorkspaceError: there is no catalog; nothing is made in its place.
    """
    embedder = first_embedder(catalog)
    network = load_network(teacher)
    learner = load_network(student) if student else None
    if learner is not None and learner.num_classes != network.num_classes:
        raise UsageError(
            f"{teacher} has {network.num_classes} classes, {student} {learner.num_classes}: "
            "they must be the same"
        )
    if CLIP_TEXT in needs:
        _, card = choose_embedder(catalog, embedder)
        check_prompts(card, network.key, network.card.classes)
    for model in filter(None, (network, learner)):  # before anything is read or scored
        mode = settled_mode(catalog, model.key, model.num_classes, logits)
        if progress and logits not in (None, mode):
            progress.say(f"{model.key} was scored with --logits {mode}, and keeps to it")
    known = None
    if reference:
        _, card = choose_embedder(catalog, embedder)
        known = load_reference(
            catalog, reference, card, network, device, workers=workers, progress=progress
        ).key
    for model in filter(None, (network, learner)):
        score(catalog, model, device, workers=workers, logits=logits, progress=progress)
    return replace(
        pool_of(catalog, network),
        student=learner.key if learner else None,
        embedder=embedder,
        reference=known,
    )


def pool_of(catalog: Catalog, teacher: Network) -> Pool:
    """Return the pool as this teacher, which has scored it, sees it."""
    return Pool(
        catalog=catalog,
        teacher=teacher.key,
        classes=teacher.num_classes,
        preprocessing=teacher.card.input.model_dump(mode="json"),
    )


def score(
    catalog: Catalog,
    network: Network,
    device: str,
    *,
    workers: int | None = None,
    logits: str | None = None,
    progress: Progress | None = None,
) -> None:
    """Score what a loaded network has not scored yet, and bring its shift estimates up to date."""
    mode = settled_mode(catalog, network.key, network.num_classes, logits)
    register(catalog, network.key, network.card)
    scorer = make_scorer(network, device)
    score_pool(catalog, scorer, workers=workers, logits=mode, progress=progress)
    update_shifts(catalog, network.key)


def make_scorer(network: Network, device: str = "cpu") -> Scorer:
    """Wrap a network for `score_pool`: its logits, and the raw shifts that fit its layers."""
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        taps: MomentTaps | None = MomentTaps(network)
    except NetworkError:
        taps = None
    rowspace = RowSpace(network.classifier.weight)

    def forward(pixels: Pixels) -> tuple[Rows, Mapping[str, Rows]]:
        with taps or nullcontext():
            rows = map_batches(one_batch, pixels, network.card.input, device)
        logits, shifts = zip(*rows, strict=True)
        names = shifts[0]
        return np.concatenate(logits), {
            name: np.concatenate([one[name] for one in shifts]) for name in names
        }

    def one_batch(images: torch.Tensor) -> tuple[Rows, dict[str, Rows]]:
        outputs = network.outputs(images)
        raw = rowspace.estimates(outputs.penultimate) | (taps.shifts() if taps else {})
        logits = half(_array(outputs.logits))
        return logits, {name: half(_array(values)) for name, values in raw.items()}

    return Scorer(network.key, network.card.input.view(), forward)


def _array(values: torch.Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = values.float().cpu().numpy()
    return array
