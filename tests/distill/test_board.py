"""TensorBoard: the same curves as the log, and one line where it is not installed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from distill.metrics import read_metrics
from index.errors import UsageError

from .training import StopAfter, make, run

needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="TensorBoard is not installed"
)


def test_a_machine_without_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # as if it were not there
    with pytest.raises(UsageError, match=r"pip install 'kdcurate\[tensorboard\]'"):
        run(tmp_path, make("kd"), tensorboard=True)
    assert not (tmp_path / "checkpoint").exists()


@needs_tensorboard
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_curves_are_those_of_the_log_after_a_kill_too(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    given = {"tensorboard": True, "patience": 9}
    run(tmp_path, make("kd"), progress=StopAfter(5), **given)
    run(tmp_path, make("kd"), **given)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    wanted: dict[str, dict[int, float]] = {}
    for row in read_metrics(tmp_path / "metrics.jsonl"):
        step = row.pop("step")
        for name, value in row.items():
            wanted.setdefault(name, {})[step] = pytest.approx(value, rel=1e-6)
    found = {
        name: {event.step: event.value for event in events.Scalars(name)}
        for name in events.Tags()["scalars"]
    }
    assert found == wanted
