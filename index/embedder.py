"""What the index asks of an embedder: it is handed in, for the index knows no network."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from index.decoding import Pixels, View


class Embedder(Protocol):
    """Turns pixels into vectors."""

    @property
    def key(self) -> str:
        """Name of this very network and its weights: a folder name and a catalog key."""
        ...

    @property
    def dim(self) -> int:
        """Width of a vector."""
        ...

    @property
    def view(self) -> View:
        """The view that it wants its images in."""
        ...

    def __call__(self, pixels: Pixels, /) -> NDArray[np.float32]:
        """Embed (n, size, size, 3) uint8 pixels as (n, dim) float32 vectors."""
        ...


class Loader(Protocol):
    """Loads an embedder in a process of its own; is pickled to get there."""

    def __call__(self, *, device: str) -> Embedder:
        """Load it onto a device: cpu, cuda, or mps."""
        ...
