"""Writing a network to a file that is there only if it says what the network says."""

from __future__ import annotations

import importlib.util
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from distill.evaluation import predict
from distill.exporting.base import FORMS, Deployed, Format, Logits, Run, as_form
from distill.exporting.onnx_file import read_onnx, write_onnx
from distill.exporting.torch_files import (
    read_safetensors,
    read_torch_export,
    read_torchscript,
    write_safetensors,
    write_torch_export,
    write_torchscript,
)
from distill.networks import Network
from index.decoding import Pixels
from index.errors import NetworkError, UsageError, WorkspaceError, nearest
from index.files import check_target, rename, told_if_full

FORMATS = {
    "safetensors": Format(".safetensors", write_safetensors, read_safetensors, bakes=False),
    "torchscript": Format(".pt", write_torchscript, read_torchscript),
    "torch-export": Format(".pt2", write_torch_export, read_torch_export),
    "onnx": Format(
        ".onnx", write_onnx, read_onnx, ("onnx", "onnxscript", "onnxruntime"), extra="onnx"
    ),
}
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Exported:
    """A file, what it expects, and how far it is from the original on `images` real images.

    ``difference`` is the largest of any logit, ``largest_logit`` the largest absolute logit.
    """

    path: str
    format: str
    expects: str
    images: int
    difference: float
    largest_logit: float


def check_export(name: str, path: Path, form: str, tolerance: float = TOLERANCE) -> None:
    """Refuse what cannot be exported, before any image is read.

    Raises:
        UsageError: an unknown format or form, another suffix, a missing extra, a tolerance without
            sense, or a file in the way or that cannot be written.
    """
    if name not in FORMATS:
        raise UsageError(f"--to {name!r} is unknown: {nearest(name, FORMATS)}")
    if form not in FORMS:
        raise UsageError(f"--input {form!r} is unknown: {nearest(form, FORMS)}")
    format = FORMATS[name]
    if form != "normalised" and not format.bakes:
        raise UsageError(f"--input {form}: {name} holds weights alone, and cannot normalise")
    if path.suffix != format.suffix:
        raise UsageError(f"{path}: a file of {name} ends in {format.suffix}")
    missing = [one for one in format.packages if importlib.util.find_spec(one) is None]
    if missing:
        raise UsageError(
            f"--to {name} needs {', '.join(missing)}: pip install 'kdcurate[{format.extra}]'"
        )
    if not 0 <= tolerance < math.inf:  # NaN, too
        raise UsageError(f"--tolerance is {tolerance:g}: it must be finite and not negative")
    for there in _written(path, name):
        check_target(there)
        if there.exists():
            raise UsageError(f"{there} exists: remove it, or name another file")


def export_network(
    network: Network,
    name: str,
    path: Path,
    pixels: Pixels,
    *,
    form: str = "normalised",
    tolerance: float = TOLERANCE,
) -> Exported:
    """Write a network, read it again, and compare its logits with the network's own.

    The file is renamed to `path` only where all agree, on all images at once and on one alone, so
    that the number of images is free.

    Args:
        network: what to export.
        name: of the format, one of `FORMATS`.
        path: where to.
        pixels: real images (N, S, S, 3) of the card's input size, N at least 2.
        form: what the file takes, one of `FORMS`.
        tolerance: the largest difference of a logit, times the largest logit where that is above 1.

    Raises:
        NetworkError: the network cannot be written so, or the file says something else.
        UsageError: see `check_export`.
    """
    check_export(name, path, form, tolerance)
    if len(pixels) < 2:
        raise UsageError("an export is checked on at least 2 images: give more")
    format, images = FORMATS[name], as_form(pixels, form, network.card.input)
    own = predict(network.to("cpu").float(), pixels)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".kdcurate-", dir=path.parent) as folder:
        temporary = Path(folder, path.name)
        try:
            with told_if_full(path):
                format.write(Deployed(network, form), network, images[:2], temporary)
            run = format.read(temporary)
            difference = max(_apart(run, images, own), _apart(run, images[:1], own[:1]))
        except (NetworkError, WorkspaceError):
            raise
        except Exception as error:  # exporters raise nearly anything
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise NetworkError(
                f"{network.card.architecture} cannot be written as {name} ({reason}): take another "
                "--to"
            ) from error
        _check_difference(path, difference, own, tolerance)
        for file in _written(temporary, name):
            rename(file, path.with_name(file.name))
    largest = float(np.abs(own).max())
    return Exported(str(path), name, FORMS[form], len(pixels), difference, largest)


def _written(path: Path, name: str) -> list[Path]:
    """The files of an export, the one that names the others last."""
    return [path, path.with_suffix(".toml")] if name == "safetensors" else [path]


def _apart(run: Run, images: Tensor, own: Logits) -> float:
    found = run(images)
    if found.shape != own.shape:
        raise NetworkError(f"the file puts out {found.shape} for {own.shape}: take another --to")
    return float(np.abs(found.astype(np.float64) - own).max())


def _check_difference(path: Path, difference: float, own: Logits, tolerance: float) -> None:
    allowed = tolerance * max(1.0, float(np.abs(own).max()))
    if not difference <= allowed:  # NaN, too
        raise NetworkError(
            f"{path} is not written: its logits differ from the network's by up to "
            f"{difference:.3g}, and {allowed:.3g} is allowed; take another --to, or raise "
            "--tolerance"
        )
