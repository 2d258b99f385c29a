"""ONNX, by PyTorch's exporter; run here by onnxruntime. Both come with the extra `onnx`."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from distill.exporting.base import FACTS, INPUT, OUTPUT, Deployed, Logits, Run, facts
from distill.networks import Network


def write_onnx(module: nn.Module, network: Network, images: Tensor, path: Path) -> None:
    """Write one file with its weights; the number of images is free."""
    import onnx

    assert isinstance(module, Deployed)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), _silent_log():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (images,),
            str(path),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=[INPUT],
            output_names=[OUTPUT],
            external_data=False,
            verbose=False,
        )
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {FACTS: facts(network, module.form)})
    onnx.checker.check_model(model)
    onnx.save(model, path)


def read_onnx(path: Path) -> Run:
    """Open it with onnxruntime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Logits:
        logits: Logits = session.run([OUTPUT], {INPUT: images.numpy()})[0]
        return logits

    return run


@contextlib.contextmanager
def _silent_log():  # type: ignore[no-untyped-def]
    """Without the exporter's notes on every operator that it rewrites."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
