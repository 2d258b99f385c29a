"""What makes networks faster, or alike on several devices: graphs, torch.compile, SyncBatchNorm."""

from __future__ import annotations

from collections.abc import Set
from contextlib import AbstractContextManager

import torch
from torch import nn

from distill.methods import Method
from distill.options import TrainOptions
from distill.processes import Processes
from index.errors import UsageError

# Blocks of one class share their compiled code up to this many shapes and modes.
SHAPES = 64


def prepare_networks(method: Method, options: TrainOptions, processes: Processes) -> None:
    """Change the networks of a method in place as the options ask.

    Raises:
        UsageError: this machine has no compiler, or no devices to synchronise.
    """
    if options.sync_batchnorm:
        _synchronise(method, processes)
    if options.compile:
        _check_compiler(processes.device)
        torch._dynamo.config.recompile_limit = max(SHAPES, torch._dynamo.config.recompile_limit)
        for network, watched in zip(
            (method.teacher, method.student), method.watched(), strict=True
        ):
            compile_around(network.module, watched)
    else:
        method.teacher.replay()


def compile_around(module: nn.Module, watched: Set[str]) -> None:
    """Compile a module in the largest pieces that hold no watched module.

    What a module that is read by a hook puts out has to be there: it is not compiled, but what it
    consists of is.
    """
    if not watched:
        module.compile()
        return
    for name, child in module.named_children():
        below = {path for path in watched if path == name or path.startswith(f"{name}.")}
        if not below:
            child.compile()
        elif below != {name}:
            compile_around(child, {path.removeprefix(f"{name}.") for path in below - {name}})
        else:
            for part in child.children():
                part.compile()


def eager() -> AbstractContextManager[None]:
    """Leave what is compiled aside: in threads, and while every module is watched."""
    stance: AbstractContextManager[None] = torch.compiler.set_stance("force_eager")
    return stance


def _synchronise(method: Method, processes: Processes) -> None:
    if processes.count == 1 or processes.device.type != "cuda":
        raise UsageError(
            "--sync-batchnorm is for several processes on CUDA, PyTorch has none for the CPU: "
            "leave it out"
        )
    nn.SyncBatchNorm.convert_sync_batchnorm(method)  # type: ignore[no-untyped-call]


def _check_compiler(device: torch.device) -> None:
    """Compile the least there is."""
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(2, device=device))
    except Exception as error:  # Dynamo, Inductor and Triton have errors of their own
        cause = getattr(error, "inner_exception", error)
        reason = f"{type(cause).__name__}: {cause}".partition("\n")[0]
        raise UsageError(
            f"--compile: PyTorch cannot compile here ({reason}): install a C++ compiler, or leave "
            "it out"
        ) from error
