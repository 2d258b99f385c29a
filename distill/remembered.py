"""The teacher's logits, computed once where every epoch shows it the same images.

Only where nothing is augmented and the method reads nothing of the teacher but its logits. They
are computed in batches as large as those of a step, which gives the bits that a step would; that
is measured on a batch, and where it does not hold, nothing is remembered.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill.images import PoolImages
from distill.methods import Method
from distill.networks import normalise
from distill.options import TrainOptions
from distill.processes import Processes
from index.progress import Progress


class RememberedLogits:
    """Logits of a pool's images, in memory; those that are not there yet are computed together."""

    def __init__(
        self,
        method: Method,
        images: PoolImages,
        processes: Processes,
        progress: Progress,
    ) -> None:
        self._method = method
        self._images = images
        self._processes = processes
        self._progress = progress
        self._logits: Tensor | None = None
        self._known = np.zeros(len(images.ids), dtype=bool)

    def learn(self, places: NDArray[np.int64], size: int) -> bool:
        """Compute those of the images in these places that are not known, `size` at once.

        Returns whether they have the bits that a step would compute, measured on a batch of them.
        """
        missing = np.sort(places[~self._known[places]])
        for start in range(0, len(missing), size):
            # As many as in a step, always: the last batch begins earlier, or is filled up.
            rows = np.resize(missing[max(0, min(start, len(missing) - size)) :], size)
            self._keep(rows, self._compute(rows))
        self._known[missing] = True
        # Of all batches some, or the batch could be one that was computed as it is.
        mixed = places[np.linspace(0, len(places) - 1, size).astype(np.int64)]
        same = torch.equal(self.of(mixed), self._compute(mixed))
        if not same:
            self._progress.say("the teacher's logits depend on the batch here: none are kept")
        return same

    def of(self, places: NDArray[np.int64]) -> Tensor:
        """Return logits (B, K) that were learned, on the device."""
        assert self._logits is not None and self._known[places].all()
        return self._logits[torch.from_numpy(places)].to(self._processes.device)

    def _keep(self, places: NDArray[np.int64], found: Tensor) -> None:
        if self._logits is None:
            self._logits = torch.zeros((len(self._known), found.shape[1]), dtype=found.dtype)
        self._logits[torch.from_numpy(places)] = found.cpu()

    @torch.no_grad()
    def _compute(self, places: NDArray[np.int64]) -> Tensor:
        """Logits (B, K) as a step computes them."""
        pixels = torch.from_numpy(self._images.pixels[places])
        spec = self._method.teacher.card.input
        with self._processes.autocast():
            found: Tensor = self._method.teacher(normalise(pixels, spec, self._processes.device))
        return found


def remember(
    method: Method,
    images: PoolImages,
    options: TrainOptions,
    processes: Processes,
    spare_bytes: float,
    progress: Progress,
) -> RememberedLogits | None:
    """Return where to keep the teacher's logits, or None where they change or need too much."""
    needed = len(images.ids) * method.teacher.num_classes * 4
    if options.augment != "none" or not method.logits_only or needed > spare_bytes:
        return None
    return RememberedLogits(method, images, processes, progress)
