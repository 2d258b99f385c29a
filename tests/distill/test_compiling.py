"""What is compiled, and what is left as it is because a hook reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch._inductor.config
from torch import nn

from distill.compiling import compile_around, prepare_networks
from distill.methods import METHODS
from distill.processes import join
from index.errors import UsageError

from .networks import Stacked
from .training import make, options, run


def compiled(module: nn.Module) -> set[str]:
    """Paths of the modules that were compiled themselves."""
    return {path for path, one in module.named_modules() if one._compiled_call_impl is not None}


def test_a_module_that_no_hook_reads_is_compiled_as_one() -> None:
    module = Stacked((2, 4, 8))
    compile_around(module, set())
    assert compiled(module) == {""}


def test_what_a_hook_reads_is_left_and_its_parts_are_compiled() -> None:
    module = Stacked((2, 4, 8))
    compile_around(module, {"stage2", "stage3.0", "fc"})
    assert compiled(module) == {
        *("stem", "stage1", "stage2.0", "stage2.1", "stage3.1"),
        *(f"stage3.0.{name}" for name in ("expand", "depthwise", "project")),
    }


@pytest.mark.parametrize("name", METHODS)
def test_no_compiled_module_holds_one_that_the_loss_watches(name: str) -> None:
    """Each method runs with its hooks, which say where they sit."""
    method = make(name)
    for network, watched in zip((method.teacher, method.student), method.watched(), strict=True):
        for path in watched:
            network.module.get_submodule(path)  # it is there
        compile_around(network.module, watched)
        inside = compiled(network.module)
        for path in watched:
            above = {path.rsplit(".", cut)[0] for cut in range(path.count(".") + 1)} | {path}
            assert not inside & (above | {""})


def test_sync_batchnorm_is_refused_where_there_is_nothing_to_synchronise() -> None:
    with pytest.raises(UsageError, match="--sync-batchnorm is for several processes on CUDA"):
        prepare_networks(make("kd"), options(sync_batchnorm=True), join("cpu", "float32"))


def test_a_machine_without_a_compiler_is_told(tmp_path: Path) -> None:
    absent = {"cpp.cxx": (str(tmp_path / "no-compiler"),), "force_disable_caches": True}
    with (
        torch._inductor.config.patch(absent),
        pytest.raises(UsageError, match=r"--compile: PyTorch cannot compile here \(\w+: .+ C\+\+"),
    ):
        run(tmp_path / "run", make("kd"), compile=True)
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["kd", "kd3"])
def test_a_compiled_training_comes_near(tmp_path: Path, name: str) -> None:
    given = {"max_steps": 3, "rounds": 0, "patience": 5, "ema": 0.5}
    plain = run(tmp_path / "plain", make(name), **given).deployed().state_dict()
    found = run(tmp_path / "compiled", make(name), compile=True, **given).deployed().state_dict()
    assert found.keys() == plain.keys()
    for key, value in plain.items():
        torch.testing.assert_close(found[key], value, rtol=1e-3, atol=1e-5)
