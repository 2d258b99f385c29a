"""Files that PyTorch itself reads: weights alone, TorchScript, and torch.export's programs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from distill.exporting.base import FACTS, Deployed, Logits, Run, facts
from distill.networks import Network, load_network, save_student


def write_safetensors(module: nn.Module, network: Network, images: Tensor, path: Path) -> None:  # noqa: ARG001
    """Write the weights, and beside them NAME.toml, the card that every command reads."""
    save_student(network, path.parent, provenance=network.card.provenance, name=path.stem)


def read_safetensors(path: Path) -> Run:
    """Load the card that lies beside."""
    return _runs(load_network(path.with_suffix(".toml")).module)


def write_torchscript(module: nn.Module, network: Network, images: Tensor, path: Path) -> None:
    """Trace the module; the size of an image is fixed, the number of images is not."""
    with _quiet(), torch.no_grad():
        traced = torch.jit.trace(module, images, check_trace=False)  # type: ignore[no-untyped-call]
        torch.jit.save(traced, path, _extra_files={FACTS: _facts(module, network)})


def read_torchscript(path: Path) -> Run:
    """Load it as a program without Python would."""
    with _quiet():
        return _runs(torch.jit.load(path))  # type: ignore[no-untyped-call]


def write_torch_export(module: nn.Module, network: Network, images: Tensor, path: Path) -> None:
    """Write an ExportedProgram; the size of an image is fixed, the number of images is not."""
    with _quiet(), torch.no_grad():
        program = torch.export.export(module, (images,), dynamic_shapes=({0: batch()},))
        torch.export.save(program, path, extra_files={FACTS: _facts(module, network)})


def read_torch_export(path: Path) -> Run:
    """Load the program's module."""
    with _quiet():
        return _runs(torch.export.load(path).module())


def batch() -> torch.export.Dim:
    """Return the dimension that is free in an export."""
    return torch.export.Dim("batch")


def _facts(module: nn.Module, network: Network) -> str:
    assert isinstance(module, Deployed)
    return facts(network, module.form)


def _runs(module: nn.Module) -> Run:
    def run(images: Tensor) -> Logits:
        with torch.no_grad():
            logits: Logits = module(images).numpy()
        return logits

    return run


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings that TorchScript is old and that shapes are constant, as they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
