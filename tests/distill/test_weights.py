"""Weight files: every usual wrapping loads, everything else is refused and changes nothing."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from distill.networks.weights import load_weights
from index.errors import NetworkError

from .helpers import TinyNet

State = dict[str, Tensor]


def source(seed: int = 1) -> State:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return TinyNet(3).state_dict()


def prefixed(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


def renamed(state: State, head: str = "linear") -> State:
    return {key.replace("fc.", f"{head}."): value for key, value in state.items()}


def assert_loaded(module: TinyNet) -> None:
    for key, value in source().items():
        assert torch.equal(module.state_dict()[key], value), key


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "best_prec1": 91.7},
        lambda state: {"epoch": 3, "model": state},
        lambda state: {"model_state_dict": prefixed("module.", state)},
        lambda state: {"net": {"state_dict": state}},
        lambda state: prefixed("_orig_mod.module.", state),
        lambda state: prefixed("module.", renamed(state)),
        lambda state: renamed(state, "classifier.1"),
        lambda state: {k: v for k, v in state.items() if "num_batches" not in k},
        lambda state: {"state_dict": {**state, "epoch": 3}},
    ],
)
def test_usual_wrappings_load(tmp_path: Path, wrap: Callable[[State], Any]) -> None:
    torch.save(wrap(source()), tmp_path / "w.pth")
    module = TinyNet(3)
    load_weights(module, tmp_path / "w.pth")
    assert_loaded(module)


def test_safetensors_load(tmp_path: Path) -> None:
    save_file(prefixed("module.", source()), tmp_path / "w.safetensors")
    module = TinyNet(3)
    load_weights(module, tmp_path / "w.safetensors")
    assert_loaded(module)


def without(state: State, *keys: str) -> State:
    return {key: value for key, value in state.items() if key not in keys}


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (without(source(), "conv.weight"), r"missing: conv\.weight"),
        ({**source(), "extra.weight": torch.zeros(1)}, r"unexpected: extra\.weight"),
        (TinyNet(7).state_dict(), r"wrong shape: fc\.bias \(7,\) for \(3,\)"),
        (renamed(TinyNet(7).state_dict()), r"missing: fc\.bias, fc\.weight; unexpected: linear"),
        ({f"layer{i}.weight": torch.zeros(1) for i in range(20)}, "and 12 more"),
        ({}, "no state_dict"),
        ([1, 2], "no state_dict"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(tmp_path: Path, state: Any, said: str) -> None:
    torch.save(state, tmp_path / "w.pth")
    module = TinyNet(3)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(NetworkError, match=said) as caught:
        load_weights(module, tmp_path / "w.pth")
    assert "w.pth" in str(caught.value) and "\n" not in str(caught.value)
    for key, value in module.state_dict().items():
        assert torch.equal(value, before[key])


class Payload:
    """Pickles as a call of ``open``, as an exploit would pickle as one of ``os.system``."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.target), "w")


def test_a_weight_file_runs_no_code(tmp_path: Path) -> None:
    torch.save({"state_dict": Payload(tmp_path / "owned")}, tmp_path / "w.pth")
    with pytest.raises(NetworkError, match="not a plain state_dict"):
        load_weights(TinyNet(3), tmp_path / "w.pth")
    (tmp_path / "p.pth").write_bytes(pickle.dumps(Payload(tmp_path / "owned"), protocol=2))
    (tmp_path / "owned").unlink(missing_ok=True)
    with pytest.raises(NetworkError):
        load_weights(TinyNet(3), tmp_path / "p.pth")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"<html>404</html>", b"\xff" * 99])
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(NetworkError, match=name) as caught:
        load_weights(TinyNet(3), tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_cut_and_missing_files_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(NetworkError, match="no such weight file"):
        load_weights(TinyNet(3), tmp_path / name)
    (torch.save if name.endswith("pth") else save_file)(source(), tmp_path / name)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-200])
    with pytest.raises(NetworkError, match=name):
        load_weights(TinyNet(3), tmp_path / name)
