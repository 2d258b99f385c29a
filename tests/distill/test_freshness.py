"""What is known of a student in training: from its batches, and from what it was asked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from distill.freshness import NEVER, Places, RecentLogits, Rows
from index.errors import MethodError, WorkspaceError


def ask(places: Places) -> Rows:
    return np.stack([places, -places], axis=1).astype(np.float16)


def test_the_last_word_counts_and_says_when_it_was() -> None:
    recent = RecentLogits.empty(5, 2, ask)
    recent.note(torch.tensor([3, 0]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]), 7)
    recent.note(torch.tensor([3]), torch.tensor([[5.0, 6.0]], requires_grad=True), 8)
    recent.now = 10
    recent.refresh(np.array([4, 0]))
    assert recent.rows.tolist() == [[0, 0], [0, 0], [0, 0], [5, 6], [4, -4]]
    assert recent.ages().tolist() == [0, NEVER, NEVER, 2, 0]
    assert recent.trained == 3


def test_what_other_processes_heard_comes_with_it() -> None:
    """As `all_gather` returns it: with the processes as the first dimension."""
    recent = RecentLogits.empty(4, 2, ask)
    logits = torch.arange(8.0).view(2, 2, 2)
    recent.note(torch.tensor([[0, 1], [2, 3]]), logits, 1)
    assert recent.rows.tolist() == logits.view(4, 2).tolist()


def test_bfloat16_is_kept_as_float16_and_nothing_is_infinite() -> None:
    recent = RecentLogits.empty(1, 2, ask)
    recent.note(torch.tensor([0]), torch.tensor([[1.5, 1e6]], dtype=torch.bfloat16), 1)
    assert recent.rows.tolist() == [[1.5, 65504]]


def test_a_checkpoint_holds_what_is_known() -> None:
    recent = RecentLogits.empty(3, 2, ask)
    recent.note(torch.tensor([1]), torch.tensor([[1.0, 2.0]]), 4)
    other = RecentLogits.empty(3, 2, ask)
    other.load(recent.state())
    assert other.trained == 1
    assert np.array_equal(other.rows, recent.rows) and np.array_equal(other.steps, recent.steps)


def test_it_takes_2_k_and_4_bytes_an_image() -> None:
    recent = RecentLogits.empty(1000, 10, ask)
    assert recent.rows.nbytes + recent.steps.nbytes == 1000 * (2 * 10 + 4)


def test_a_method_that_hides_its_logits_is_told_of_full() -> None:
    with pytest.raises(MethodError, match="or give --refresh full"):
        RecentLogits.empty(1, 2, ask).note(torch.tensor([0]), None, 1)


def test_logits_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(WorkspaceError, match="NaN"):
        RecentLogits.empty(1, 2, ask).note(torch.tensor([0]), torch.tensor([[np.nan, 0]]), 1)
