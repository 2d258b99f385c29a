"""What a loss returns: its scalars, and the logits that rounds reuse."""

from __future__ import annotations

import pytest
import torch

from distill.methods import METHODS, Losses, find_method
from index.errors import MethodError

from .helpers import batch, noise, tiny


@pytest.mark.parametrize("name", METHODS)
def test_every_method_returns_what_its_student_says_of_the_batch(name: str) -> None:
    method = find_method(name)(tiny(0), tiny(1)).eval()
    method.prepare(12)
    images = noise(4, 3, 8, 8)
    found = method.loss(batch(images)).logits
    assert found is not None
    torch.testing.assert_close(found, method.student_logits(images))


def test_a_mapping_of_total_and_terms_is_as_good() -> None:
    total, term = torch.tensor(3.0), torch.tensor(1.0)
    found = Losses.of({"total": total, "mine": term})
    assert found == Losses(total, {"mine": term}, None)
    assert found.scalars() == {"total": total, "mine": term}
    assert Losses.of(found) is found


@pytest.mark.parametrize("found", [{"mine": torch.tensor(1.0)}, torch.tensor(1.0)])
def test_a_loss_without_a_total_is_refused(found: object) -> None:
    with pytest.raises(MethodError, match="without a total: return kdcurate's Losses, or a map"):
        Losses.of(found)  # type: ignore[arg-type]
