"""What is drawn at a step: each for itself."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from distill.datafree.learner import make_learner
from distill.datafree.purposes import Purpose
from distill.datafree.registry import make_recipe
from distill.datafree.replay import Replay
from distill.datafree.synthesiser import Compute, Moment

from ..helpers import tiny
from .small import small


def test_nothing_is_drawn_twice_at_a_step() -> None:
    draws = [torch.rand(8, generator=Moment(3, 0).generator(one)) for one in Purpose]
    assert len({tuple(drawn.tolist()) for drawn in draws}) == len(Purpose) == 7


def test_what_is_replayed_shares_no_draw_with_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = set[int]()
    kept = Moment.generator

    def generator(self: Moment, purpose: Purpose) -> torch.Generator:
        asked.add(purpose)
        return kept(self, purpose)

    monkeypatch.setattr(Moment, "generator", generator)
    recipe = make_recipe("pre", "paper", small("pre"))
    cpu = Compute(torch.device("cpu"), nullcontext)
    made = Replay(make_learner(recipe, tiny(0), tiny(1)), recipe, cpu, tmp_path)
    made.prepare(Moment(0, 0))
    made.images(4, Moment(0, 0))
    assert asked.isdisjoint({Purpose.AUGMENT, Purpose.LEARN}) and len(asked) == 5
