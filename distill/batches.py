"""Which images a step is made of: their order, this process's part of them, their view."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from distill.augment import AUGMENTATIONS
from distill.draws import Draws, step_seed
from distill.images import PoolImages
from distill.methods import Batch
from distill.networks import InputSpec, normalise
from distill.options import TrainOptions
from distill.processes import Processes
from distill.remembered import RememberedLogits
from distill.selection import Selection


class Batches:
    """The batches of a training, each a function of the seed, the step's number and a selection.

    A batch is divided into equal parts, `--accumulate` of them for each process.
    """

    def __init__(
        self,
        images: PoolImages,
        spec: InputSpec,
        options: TrainOptions,
        processes: Processes,
        remembered: RememberedLogits | None = None,
    ) -> None:
        self._images = images
        self._spec = spec
        self._options = options
        self._processes = processes
        self._parts = options.parts
        self._remembered = remembered
        self._begun: Selection | None = None
        self._ordered: tuple[int, int] | None = None
        self._order: NDArray[np.int64] = np.empty(0, np.int64)

    def of_step(self, step: int, first: int, epoch: int, selection: Selection) -> Iterator[Batch]:
        """Yield this process's parts of a step's batch, torch's own generator set for each.

        Args:
            step: from 0.
            first: the step at which this selection came.
            epoch: from 1, for the method.
            selection: what is trained on.
        """
        if self._begun is not selection:
            self._begin(selection)
        chosen = self._chosen(step - first, first, len(selection.ids))
        own = len(chosen) // self._parts
        for number in range(self._options.accumulate):
            part = self._processes.rank * self._options.accumulate + number
            yield self._batch(step, part, epoch, selection, chosen[part * own :][:own])

    def _begin(self, selection: Selection) -> None:
        self._begun, self._ordered = selection, None
        places, selected = self._images.places(selection.ids), len(selection.ids)
        own = self._options.batch_of(selected) // self._parts
        if self._remembered is not None and not self._remembered.learn(places, own):
            self._remembered = None

    def _chosen(self, place: int, first: int, selected: int) -> NDArray[np.int64]:
        """Rows of the selection in a batch: a permutation an epoch, the same in every process."""
        size = self._options.batch_of(selected)
        turn, place = divmod(place, selected // size)
        if self._ordered != (first, turn):
            seed = (self._options.seed, first, turn)
            self._order = np.random.default_rng(seed).permutation(selected)
            self._ordered = first, turn
        return self._order[place * size : (place + 1) * size]

    def _batch(
        self, step: int, part: int, epoch: int, selection: Selection, chosen: NDArray[np.int64]
    ) -> Batch:
        seed = self._options.seed
        torch.manual_seed(step_seed(seed, step, part))
        generator = torch.Generator().manual_seed(step_seed(seed, step))
        device, places = self._processes.device, self._images.places(selection.ids[chosen])
        images = normalise(torch.from_numpy(self._images.pixels[places]), self._spec, device)
        draws = Draws(generator, part, self._parts)
        viewed = AUGMENTATIONS[self._options.augment](images, draws)
        if part:  # what the loss draws is for its own part alone
            generator.manual_seed(step_seed(seed, step, part))
        return Batch(
            viewed,
            torch.from_numpy(selection.weights[chosen]).to(device),
            torch.from_numpy(places).to(device),
            epoch=epoch,
            generator=generator,
            teacher_logits=self._remembered.of(places) if self._remembered else None,
        )
