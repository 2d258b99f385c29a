"""Steps in parts, clipped, averaged: against what one whole step and NumPy would do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distill.ema import Ema, holding, snapshot
from distill.metrics import read_metrics
from distill.networks import Network
from distill.processes import join
from distill.scoring import score_pixels

from .helpers import Mlp, network, tiny
from .training import StopAfter, Watched, confident_half, greys, make, photos, run, same


def plain(seed: int = 1) -> Network:
    """A student without BatchNorm."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return network(Mlp(3), [f"class {k}" for k in range(3)])


def weights(trainer: Any) -> dict[str, torch.Tensor]:
    return {name: one.double() for name, one in trainer.deployed().state_dict().items()}


@pytest.mark.parametrize("method", ["kd", "dfnd", "dkd"])
def test_a_step_in_parts_is_the_whole_step(tmp_path: Path, method: str) -> None:
    """Without BatchNorm, with every image's own view and weight."""
    given = {"lr": 0.02, "clip_norm": 0.7, "ema": 0.8}
    whole = weights(run(tmp_path / "whole", make(method, plain()), **given))
    for parts in (2, 4):
        divided = run(tmp_path / str(parts), make(method, plain()), accumulate=parts, **given)
        for name, value in weights(divided).items():
            torch.testing.assert_close(value, whole[name], rtol=1e-4, atol=1e-6)
    rows = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "2", "4")]
    for row, *others in zip(*rows, strict=True):
        for other in others:
            assert other == pytest.approx(row, rel=1e-4)


def test_parts_are_slices_of_the_batch_and_draw_apart(tmp_path: Path) -> None:
    whole, halves = Watched(tiny(0), tiny(1)), Watched(tiny(0), tiny(1))
    given = {"images": greys(), "augment": "none", "max_steps": 6}
    run(tmp_path / "whole", whole, **given)
    run(tmp_path / "halves", halves, accumulate=2, **given)
    pairs = zip(halves.places[::2], halves.places[1::2], strict=True)
    assert [[*first, *second] for first, second in pairs] == whole.places


@pytest.mark.parametrize("method", ["kd", "kd3", "crd", "dfnd"])
@pytest.mark.parametrize("rounds", [0, 2])
def test_all_of_it_resumes_to_the_last_bit(tmp_path: Path, method: str, rounds: int) -> None:
    reselect = confident_half()
    given = {"accumulate": 2, "clip_norm": 0.5, "ema": 0.9, "patience": 3, "hold_back": 0.2}
    given |= {"rounds": rounds, "lr": 0.02}
    first = {"reselect": confident_half()} if rounds else {}
    whole = run(tmp_path / "whole", make(method), **given, **first)
    for steps in (4, 2, 100):
        torch.manual_seed(steps)
        again = {"reselect": reselect} if rounds else {}
        stopped = run(
            tmp_path / "stopped", make(method), progress=StopAfter(steps), **given, **again
        )
    assert same(whole, stopped)
    kept = [torch.load(it.checkpoint_path, weights_only=True) for it in (whole, stopped)]
    for part in ("method", "optimizers", "ema", "patience", "step"):
        torch.testing.assert_close(kept[0][part], kept[1][part], rtol=0, atol=0)
    log = (tmp_path / "whole" / "metrics.jsonl").read_bytes()
    assert (tmp_path / "stopped" / "metrics.jsonl").read_bytes() == log


def test_clipping_bounds_the_step_and_reports_the_norm(tmp_path: Path) -> None:
    """One step of plain SGD: its length is the rate times the clipped norm, weight decay apart."""
    before = snapshot(plain())
    trainer = run(tmp_path, make("kd", plain()), clip_norm=1e-3, lr=1.0, max_steps=1)
    (row,) = read_metrics(tmp_path / "metrics.jsonl")
    assert row["gradient"] > 1e-3
    moved = []
    for name, value in trainer.method.student.state_dict().items():
        moved.append((value - before[name] + 5e-4 * before[name]).flatten().numpy())
    assert np.linalg.norm(np.concatenate(moved)) == pytest.approx(1e-3, rel=0.01)


def test_a_norm_below_the_bound_changes_nothing(tmp_path: Path) -> None:
    free = run(tmp_path / "free", make("kd"), max_steps=3)
    bound = run(tmp_path / "bound", make("kd"), max_steps=3, clip_norm=1e6)
    for name, value in weights(bound).items():
        torch.testing.assert_close(value, weights(free)[name], rtol=1e-5, atol=1e-7)


def test_the_average_is_the_recursion_and_takes_buffers_along() -> None:
    decay, student = 0.6, tiny(1)
    wanted = {name: one.double().numpy() for name, one in snapshot(student).items()}
    ema = Ema(student, decay)
    generator = torch.Generator().manual_seed(0)
    for step in range(1, 5):
        with torch.no_grad():
            for one in student.parameters():
                one.add_(torch.randn(one.shape, generator=generator))
            student.module.bn.running_mean.add_(1.0)  # type: ignore[union-attr, operator]
            student.module.bn.num_batches_tracked.add_(1)  # type: ignore[union-attr, operator]
        ema.update(student, step)
        share = min(decay, (1 + step) / (10 + step))
        for name, one in student.state_dict().items():
            if one.is_floating_point():
                wanted[name] = share * wanted[name] + (1 - share) * one.double().numpy()
            else:
                wanted[name] = one.numpy().copy()
    for name, found in ema.weights.items():
        np.testing.assert_allclose(found.numpy(), wanted[name], rtol=1e-5, atol=1e-6)
    assert ema.weights["module.bn.num_batches_tracked"] == 4


def test_the_average_is_what_is_deployed_and_asked_in_rounds(tmp_path: Path) -> None:
    asked: list[np.ndarray[Any, Any]] = []

    def reselect(start: Any) -> Any:
        asked.append(start.student_logits())
        return confident_half()(start)

    trainer = run(tmp_path, make("kd"), ema=0.9, rounds=2, reselect=reselect)
    averaged = torch.load(trainer.checkpoint_path, weights_only=True)["ema"]
    found = trainer.deployed().state_dict()
    for name, value in averaged.items():
        assert torch.equal(found[name], value)
    live = trainer.method.student.state_dict()
    assert not torch.equal(live["module.fc.weight"], found["module.fc.weight"])
    images, spec = photos(), trainer.deployed().card.input
    wanted = score_pixels(trainer.deployed(), images.pixels, spec, join("cpu", "float32"))
    np.testing.assert_array_equal(trainer.student_logits(), wanted)
    assert len(asked) == 2 and not np.array_equal(asked[1], wanted)


def test_a_module_gets_its_own_weights_back() -> None:
    student, other = tiny(1), snapshot(tiny(2))
    before = snapshot(student)
    with pytest.raises(RuntimeError, match="inside"), holding(student, other):
        assert torch.equal(student.state_dict()["module.fc.weight"], other["module.fc.weight"])
        raise RuntimeError("inside")
    assert all(torch.equal(one, before[name]) for name, one in student.state_dict().items())
