"""Options that several commands share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from curate.cli.completion import manifest_names

Workspace = Annotated[
    Path,
    typer.Option(
        "-w", "--workspace", envvar="KDCURATE_WORKSPACE", help="Directory that holds all state."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


def _seed(value: int) -> int:
    from index.seeds import check_seed

    check_seed(value)
    return value


Seed = Annotated[int, typer.Option(help="Seed of everything random.", callback=_seed)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, or mps.")]
Workers = Annotated[
    int | None,
    typer.Option(min=0, help="Decoding processes; 0 decodes in this one, which a crash then ends."),
]
Manifest = Annotated[
    str, typer.Argument(help="Name of the manifest.", autocompletion=manifest_names)
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and change nothing.")]


def pick_device(name: str) -> str:
    """Resolve `auto` and check that the device is there.

    Raises:
        UsageError: an unknown name, or a device that this machine has not.
    """
    import torch

    from index.errors import UsageError, nearest

    have = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        return "cuda" if have["cuda"] else "mps" if have["mps"] else "cpu"
    if name == "gpu":  # by its letters it is nearest to cpu
        raise UsageError(f"--device is 'gpu': did you mean {'mps' if have['mps'] else 'cuda'}?")
    if name not in have:
        raise UsageError(f"--device is {name!r}: {nearest(name, ['auto', *have])}")
    if not have[name]:
        raise UsageError(f"--device {name}: this machine has none; use --device cpu")
    return name
