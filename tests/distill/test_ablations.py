"""kd3 without one of its parts: what is trained then, with what, and what is deployed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from distill.methods.contrast import nt_xent
from distill.methods.kd import soft_divergence
from distill.methods.kd3 import KD3, gap_weight
from distill.methods.sharing import feature_gap
from distill.networks import Network, load_network
from distill.networks.cost import cost
from distill.options import TrainOptions
from distill.run import RunOptions, make_method
from index.errors import UsageError

from .helpers import batch, noise, tiny
from .workspaces import TEACHER


def without(*parts: str, student: Network | None = None, **options: Any) -> KD3:
    torch.manual_seed(0)
    return KD3(tiny(0), student or tiny(1), {**options, "without": list(parts)})


def options(card: Path, rounds: int, *parts: str, method: str = "kd3") -> RunOptions:
    train = TrainOptions(rounds=rounds)
    return RunOptions("m", str(card), TEACHER, method, train, {"without": list(parts)})


def test_without_weighting_all_images_count_alike() -> None:
    method, images = without("weighting").eval(), noise(4, 3, 8, 8)
    found = method.loss(batch(images)).terms["feature"]
    own, wanted = method.student.outputs(images), method.teacher.outputs(images)
    assert own.features is not None and wanted.features is not None
    gap = feature_gap(own.features, wanted.features)
    assert found.item() == pytest.approx(gap.mean().item())
    whole = without().eval().loss(batch(images)).terms["feature"]
    weighted = gap * gap_weight(own.logits, wanted.logits)
    assert whole.item() == pytest.approx(weighted.mean().item())


def test_without_mix_distribution_there_is_no_contrast() -> None:
    method = without("mix_distribution")
    assert not any(key.startswith("embed") for key in method.state_dict())
    found = method.loss(batch(noise(4, 3, 8, 8)))
    assert found.terms["contrast"].item() == 0
    assert torch.equal(found.total, found.terms["feature"])


def test_without_dynamic_the_loss_is_the_same() -> None:
    whole, method = without(), without("dynamic")
    images = noise(4, 3, 8, 8)
    assert torch.equal(whole.loss(batch(images)).total, method.loss(batch(images)).total)


@pytest.mark.parametrize("student", [{"channels": 6}, {"stride": 1}, {"stride": 4}])
def test_without_classifier_sharing_the_own_classifier_learns_from_logits(
    student: dict[str, int],
) -> None:
    method = without("classifier_sharing", student=tiny(1, **student)).eval()
    images, weights = noise(4, 3, 8, 8), torch.tensor([1.0, 0.5, 0.0, 2.0])
    found = method.loss(batch(images, weights))
    own, wanted = method.student.outputs(images), method.teacher.outputs(images)
    kl = (weights * soft_divergence(wanted.logits, own.logits, 4)).mean()
    assert found.terms["kl"].item() == pytest.approx(kl.item())
    expected = found.terms["feature"] + 0.001 * found.terms["contrast"] + found.terms["kl"]
    assert found.total.item() == pytest.approx(expected.item())
    found.terms["feature"].backward(retain_graph=True)  # type: ignore[no-untyped-call]
    assert method.student.classifier.weight.grad is None
    assert method.student.get_submodule("module.conv").weight.grad is not None
    found.terms["kl"].backward()  # type: ignore[no-untyped-call]
    assert method.student.classifier.weight.grad is not None


def test_without_classifier_sharing_the_plain_student_is_deployed() -> None:
    plain, method = tiny(1, channels=6), without("classifier_sharing", student=tiny(1, channels=6))
    deployed = method.deployed()
    assert deployed.card.head is None
    assert cost(deployed, 8) == cost(plain, 8)
    assert deployed.state_dict().keys() == plain.state_dict().keys()


def test_parts_are_left_out_together() -> None:
    found = without("classifier_sharing", "weighting", "mix_distribution", "dynamic").loss(
        batch(noise(4, 3, 8, 8))
    )
    assert found.terms["contrast"].item() == 0 and found.terms["kl"] > 0


def test_unknown_parts_and_other_methods_are_refused(teacher_card: Path) -> None:
    with pytest.raises(
        UsageError, match="--without sharing is no part of kd3: give .*or 'dynamic'$"
    ):
        without("sharing")
    with pytest.raises(UsageError, match="without=dynamic: parts are left out with .*--without"):
        KD3(tiny(0), tiny(1), {"without": "dynamic"})
    with pytest.raises(UsageError, match="--without is kd3's: kd has no parts"):
        make_method(options(teacher_card, 0, "dynamic", method="kd"), tiny(0))


def test_without_dynamic_rounds_are_refused(teacher_card: Path) -> None:
    teacher = load_network(teacher_card)
    asked = options(teacher_card, 3, "weighting", "dynamic")
    with pytest.raises(UsageError, match="kd3 --without dynamic .* --rounds 3 re-selects"):
        make_method(asked, teacher)
    make_method(replace(asked, train=TrainOptions()), teacher)
    make_method(options(teacher_card, 3, "weighting"), teacher)


def test_an_image_that_is_absent_stands_in_no_others_way() -> None:
    first, second = noise(4, 6), noise(4, 6, seed=1)
    present = torch.tensor([True, False, True, True])
    found = nt_xent(first, second, 0.3, present)
    torch.testing.assert_close(found[present], nt_xent(first[present], second[present], 0.3))
    assert found.isfinite().all()
    everyone = torch.ones(4, dtype=torch.bool)
    assert torch.equal(nt_xent(first, second, 0.3, everyone), nt_xent(first, second, 0.3))
