"""What is drawn at a step of a run without images, each for itself: numbers that never collide."""

from __future__ import annotations

from enum import IntEnum, unique


@unique
class Purpose(IntEnum):
    """What a `Moment` gives a generator for."""

    MAKE = 0  # images that are learned on, or made for a pool
    SHOW = 1  # images that the student is shown
    AUGMENT = 2  # how they are changed, and what the student's loss draws
    LEARN = 3  # whatever PyTorch draws of itself
    REHEARSE = 4  # the noise of the VAE that replays
    REPLAY = 5  # what it replays for itself
    REPLAY_SHOWN = 6  # what it replays for the student
