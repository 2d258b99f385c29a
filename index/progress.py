"""How long work reports how far it is, without knowing who draws it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]


class Progress(Protocol):
    """Draws (or ignores) the advance of named steps."""

    def step(self, name: str, total: int | None, unit: str) -> AbstractContextManager[Advance]:
        """Open one step of `total` units; call the yielded function with each advance."""
        ...

    def say(self, message: str) -> None:
        """Show one line to the person waiting."""
        ...


class Silent:
    """The progress of a library call: nothing is drawn."""

    @contextmanager
    def step(self, name: str, total: int | None, unit: str) -> Iterator[Advance]:  # noqa: ARG002
        """Ignore every advance."""
        yield lambda _: None

    def say(self, message: str) -> None:
        """Ignore the message."""
