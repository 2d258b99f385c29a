"""What goes wrong in the loop of methods without images: whose fault it is, and what stays."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from distill.methods import Batch, Losses
from index.errors import KdcurateError, WorkspaceError

from ..training import AtStep
from .small import trainer


def test_another_recipe_is_another_run(tmp_path: Path) -> None:
    trainer("dafl", tmp_path).fit()
    with pytest.raises(WorkspaceError, match="lr = None, not 0.3: give this run another --run"):
        trainer("dafl", tmp_path, lr=0.3).fit()


def test_a_pool_that_lost_a_file_is_named(tmp_path: Path) -> None:
    trainer("cmi", tmp_path).fit()
    (tmp_path / "pool" / "00001.npy").unlink()
    with pytest.raises(WorkspaceError, match=r"00001\.npy is gone or damaged: delete"):
        trainer("cmi", tmp_path).fit()


def test_losses_that_are_no_numbers_say_whose_they_are(tmp_path: Path) -> None:
    with pytest.raises(KdcurateError, match="the student is (nan|inf) at step .: lower --lr"):
        trainer("dfad", tmp_path / "student", lr=1e30).fit()
    made = trainer("dafl", tmp_path / "images")
    with torch.no_grad():
        made.synthesiser.generator.linear.weight.fill_(math.nan)
    with pytest.raises(KdcurateError, match=r"images is nan at step 0: lower --option g.*not yet"):
        made.fit()


def test_images_that_are_no_numbers_are_not_the_students_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A generator's after its step, pixels after their last one: no loss was of these."""
    given = {"max_steps": 2, "recipe": {"generator_lr": 1e38}}
    with pytest.raises(KdcurateError, match="images of step 0 are not finite: lower --option gen"):
        trainer("dafl", tmp_path / "generator", **given).fit()
    made = trainer("deepinversion", tmp_path / "pixels")
    spoilt = torch.full((6, 3, 8, 8), math.nan), {"total": 1.0}
    monkeypatch.setattr(made.synthesiser, "make", lambda _: spoilt)
    with pytest.raises(KdcurateError, match="images is nan at step 0: lower --option pixel_lr="):
        made.fit()
    assert not list((tmp_path / "pixels" / "pool").glob("*.npy"))


@pytest.mark.parametrize(
    ("name", "option"),
    [("dfad", r"generator_lr= \(now 0.001\)"), ("deepinversion", r"pixel_lr= \(now 0.05\)")],
)
def test_a_loss_of_the_images_names_the_rate_that_they_have(
    name: str, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trainer(name, tmp_path)
    monkeypatch.setattr(made.synthesiser, "prepare", lambda _: {"total": math.inf})
    with pytest.raises(KdcurateError, match=f"images is inf at step 0: lower --option {option}"):
        made.fit()


def test_a_generator_that_is_no_number_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    def spoil() -> None:
        with torch.no_grad():  # no loss of the steps before was of it; its next turn is step 9
            made.synthesiser.head[2].weight.view(-1)[-1] = math.nan

    made = trainer("cmi", tmp_path, AtStep(5, spoil), recipe={"student_steps": 9}, max_steps=12)
    named = r"weights of head.2.weight are no .* step 6: lower --option generator_lr=.*last\.pt"
    with pytest.raises(KdcurateError, match=named):
        made.fit()
    kept = torch.load(made.checkpoint_path, weights_only=True)
    assert kept["step"] == 4 and kept["synthesiser"]["module"]["head.2.weight"].isfinite().all()


def test_a_student_that_is_no_number_leaves_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trainer("dafl", tmp_path)
    taken = iter(range(8))
    learned = made._learner.loss

    def loss(batch: Batch) -> dict[str, torch.Tensor]:
        found = Losses.of(learned(batch))
        if next(taken) == 5:
            found.total.register_hook(lambda gradient: gradient * math.nan)
        return {"total": found.total, **found.terms}

    monkeypatch.setattr(made._learner, "loss", loss)
    with pytest.raises(KdcurateError, match="weights of student.* step 6: lower --lr; the last"):
        made.fit()
    kept = torch.load(made.checkpoint_path, weights_only=True)
    assert kept["step"] == 4 and all(one.isfinite().all() for one in kept["learner"].values())
