"""Weight files: read without running code, matched to a network wholly or not at all."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from index.errors import NetworkError

StateDict = dict[str, Tensor]

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "student", "teacher")
LISTED = 8


def load_weights(module: nn.Module, path: Path) -> None:
    """Load every parameter and buffer of a module from a file.

    Understands safetensors and torch files, the usual wrappings (``{"state_dict": ...}``), common
    prefixes (``module.``, ``_orig_mod.``) and a final layer of another name and the same shape.

    Raises:
        NetworkError: unreadable file, or keys or shapes that differ; the module is then unchanged.
    """
    wanted = module.state_dict()
    found = _strip_prefixes(_unwrap(_read(path), path), wanted)
    found = _rename_head(found, wanted)
    # Written only by recent PyTorch, and used only where a BatchNorm has no momentum.
    for key in wanted:
        if key.endswith("num_batches_tracked"):
            found.setdefault(key, wanted[key])
    _check(found, wanted, path)
    module.load_state_dict(found)


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise NetworkError(f"{path}: no such weight file") from error
    except pickle.UnpicklingError as error:
        raise NetworkError(
            f"{path}: not a plain state_dict (it may be damaged, or want to run code); "
            "save it again with torch.save(model.state_dict(), ...)"
        ) from error
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise NetworkError(f"{path}: damaged weight file ({reason}); get it again") from error


def _unwrap(content: Any, path: Path) -> StateDict:
    while isinstance(content, Mapping):
        # A wrapper first: beside the weights there may be a tensor such as the best accuracy.
        inner = next((content[name] for name in WRAPPERS if name in content), None)
        if not isinstance(inner, Mapping):
            tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
            if tensors:
                return tensors
        content = inner
    raise NetworkError(f"{path}: holds no state_dict; save one with torch.save(model.state_dict())")


def _strip_prefixes(found: StateDict, wanted: Mapping[str, Tensor]) -> StateDict:
    """Strip first components that all keys share, unless the module's own keys share it too."""
    while (prefix := _shared_prefix(found)) and prefix != _shared_prefix(wanted):
        found = {key.removeprefix(prefix): value for key, value in found.items()}
    return found


def _shared_prefix(keys: Iterable[str]) -> str:
    first, *others = {key.partition(".")[0] if "." in key else "" for key in keys}
    return f"{first}." if first and not others else ""


def _rename_head(found: StateDict, wanted: Mapping[str, Tensor]) -> StateDict:
    """Rename the one layer that goes by another name, where shapes leave no doubt."""
    missing, unexpected = wanted.keys() - found.keys(), found.keys() - wanted.keys()
    ours = _layer({key: wanted[key] for key in missing if not key.endswith("num_batches_tracked")})
    theirs = _layer({key: found[key] for key in unexpected})
    if ours is None or theirs is None or ours[1] != theirs[1]:
        return found
    return {
        ours[0] + key.removeprefix(theirs[0]) if key in unexpected else key: value
        for key, value in found.items()
    }


def _layer(entries: StateDict) -> tuple[str, dict[str, torch.Size]] | None:
    """Path and shapes of the single layer that these entries make up; None if they are several."""
    paths = {key.rpartition(".")[0] for key in entries}
    if len(paths) != 1:
        return None
    path = paths.pop()
    return path, {key.removeprefix(path): value.shape for key, value in entries.items()}


def _check(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path) -> None:
    shapes = [
        f"{key} {tuple(found[key].shape)} for {tuple(wanted[key].shape)}"
        for key in sorted(found.keys() & wanted.keys())
        if found[key].shape != wanted[key].shape
    ]
    problems = [
        f"{label}: {_cut(keys)}"
        for label, keys in (
            ("missing", sorted(wanted.keys() - found.keys())),
            ("unexpected", sorted(found.keys() - wanted.keys())),
            ("wrong shape", shapes),
        )
        if keys
    ]
    if problems:
        raise NetworkError(
            f"{path}: does not fit the network ({'; '.join(problems)}); check architecture, "
            "options and number of classes"
        )


def _cut(keys: list[str]) -> str:
    rest = len(keys) - LISTED
    return ", ".join(keys[:LISTED]) + (f" and {rest} more" if rest > 0 else "")
