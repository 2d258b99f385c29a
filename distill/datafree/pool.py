"""Images that were made once and are shown again: parts on disk, all of them in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from index.decoding import Pixels
from index.errors import WorkspaceError
from index.files import atomic_path, remove_leftovers


class ImagePool:
    """uint8 images, one part a round; what a checkpoint keeps is how many parts there are.

    Memory: as many bytes as the images have, 3 KiB for one of 32 pixels.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parts: list[Pixels] = []

    @property
    def parts(self) -> int:
        """How many rounds there were."""
        return len(self._parts)

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def add(self, images: Tensor) -> None:
        """Keep the images (B, S, S, 3) of a round."""
        pixels = images.numpy()
        with atomic_path(self._path(self.parts)) as temporary, temporary.open("wb") as file:
            np.save(file, pixels)
        self._parts.append(pixels)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw images (count, S, S, 3) with replacement."""
        return self._at(torch.randint(len(self), (count,), generator=generator))

    def samples(self, count: int, generator: torch.Generator, size: int) -> Iterator[Tensor]:
        """Draw without replacement, (size, S, S, 3) at a time: all where there are no more."""
        drawn = torch.randperm(len(self), generator=generator)[:count]
        return map(self._at, torch.split(drawn, size))

    def _at(self, places: Tensor) -> Tensor:
        ends, chosen = np.cumsum([len(part) for part in self._parts]), places.numpy()
        parts = np.searchsorted(ends, chosen, side="right")
        starts = ends - [len(part) for part in self._parts]
        rows = [self._parts[k][n - starts[k]] for k, n in zip(parts, chosen, strict=True)]
        return torch.from_numpy(np.stack(rows))

    def rewind(self, parts: int) -> None:
        """Go back to the first so many rounds; what a killed run made after them is deleted.

        Raises:
            WorkspaceError: one of them is gone or damaged.
        """
        remove_leftovers(self._folder)
        for path in self._folder.glob("*.npy"):
            if not path.stem.isdecimal() or int(path.stem) >= parts:
                path.unlink()
        self._parts = [_read(self._path(number)) for number in range(parts)]

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:05d}.npy"


def _read(path: Path) -> Pixels:
    try:
        pixels: Pixels = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        folder = path.parent.parent
        raise WorkspaceError(
            f"{path} is gone or damaged: delete {folder} to train this run anew"
        ) from error
    return pixels
