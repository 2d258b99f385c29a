"""Exports: every architecture's logits come back from the file, for any number of images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor, nn

from distill.evaluation import predict
from distill.exporting import FORMATS, FORMS, check_export, export_network
from distill.exporting.base import FACTS, as_form
from distill.exporting.export import Exported
from distill.methods import find_method
from distill.networks import InputSpec, Network, load_network, save_student
from index.errors import NetworkError, UsageError

from .helpers import network, tiny

SIZE = 28
SPEC = InputSpec(size=SIZE, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
# One of each family: a deeper one has more of the same layers.
FAMILIES = ["resnet8", "resnet8x4", "wrn16_1", "mobilenet_v2", "shuffle_v1", "shuffle_v2", "vgg8"]
FAMILIES += ["lenet5"]
TORCH = ["torchscript", "torch-export"]


def pixels(count: int = 5, size: int = SIZE) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(256, size=(count, size, size, 3), dtype=np.uint8)


def zoo(name: str) -> Network:
    made = load_network(f"cifar:{name}", num_classes=5, input=SPEC, allow_random=True)
    return settled(made)


def settled(made: Network) -> Network:
    """Give the running statistics other values than 0 and 1."""
    made.train()(torch.randn(8, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)))
    return made.eval()


def shared() -> Network:
    """A student that ends in its teacher's classifier: it reads its body's map by a hook."""
    teacher, student = zoo("resnet8x4"), zoo("resnet8")
    return settled(find_method("kd3")(teacher, student, {}).deployed())


def exported(made: Network, name: str, folder: Path, form: str = "normalised") -> tuple[Path, Any]:
    path = folder / f"net{FORMATS[name].suffix}"
    found = export_network(made, name, path, pixels(), form=form)
    assert (found.path, found.format, found.images) == (str(path), name, 5)
    assert found.expects == FORMS[form] and found.difference < 1e-4 < found.largest_logit
    assert [file.name for file in folder.iterdir() if file.name.startswith(".")] == []
    return path, found


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_the_same_in_torchscript(name: str, tmp_path: Path) -> None:
    exported(zoo(name), "torchscript", tmp_path)


def test_a_shared_classifier_is_the_same_in_torchscript(tmp_path: Path) -> None:
    exported(shared(), "torchscript", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_the_same_in_torch_export(name: str, tmp_path: Path) -> None:
    exported(zoo(name), "torch-export", tmp_path)


def test_a_shared_classifier_is_the_same_in_torch_export(tmp_path: Path) -> None:
    exported(shared(), "torch-export", tmp_path)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", TORCH)
def test_a_file_takes_what_it_says_and_any_number_of_images(
    name: str, form: str, tmp_path: Path
) -> None:
    made = tiny()
    path = tmp_path / f"net{FORMATS[name].suffix}"
    images = pixels(7, 8)
    export_network(made, name, path, images[:3], form=form)
    run = FORMATS[name].read(path)
    for count in (1, 7):
        found = run(as_form(images[:count], form, made.card.input))
        np.testing.assert_allclose(found, predict(made, images[:count]), atol=1e-5)


def test_the_forms_are_what_they_are_called() -> None:
    images = pixels(2)
    nchw = images.transpose(0, 3, 1, 2)
    assert as_form(images, "uint8", SPEC).dtype == torch.uint8
    np.testing.assert_array_equal(as_form(images, "uint8", SPEC), nchw)
    np.testing.assert_allclose(as_form(images, "unit", SPEC), nchw / 255, rtol=1e-6)
    mean, std = (np.array(one).reshape(1, 3, 1, 1) for one in (SPEC.mean, SPEC.std))
    expected = (nchw / 255 - mean) / std
    np.testing.assert_allclose(as_form(images, "normalised", SPEC), expected, atol=1e-5)


def test_the_card_travels_in_the_file(tmp_path: Path) -> None:
    made = tiny()
    for name in TORCH:
        path = tmp_path / f"net{FORMATS[name].suffix}"
        export_network(made, name, path, pixels(2, 8), form="uint8")
        files = {FACTS: ""}
        if name == "torchscript":
            with pytest.warns(FutureWarning, match="deprecated"):
                torch.jit.load(path, _extra_files=files)
        else:
            torch.export.load(path, extra_files=files)
        facts = json.loads(files[FACTS])
        assert facts["card"]["classes"] == made.card.classes
        assert facts["card"]["input"]["size"] == 8 and "weights" not in facts["card"]
        assert (facts["form"], facts["expects"]) == ("uint8", FORMS["uint8"])


def test_safetensors_come_with_a_card_and_the_provenance(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    card = save_student(zoo("resnet8"), tmp_path / "run", provenance={"teacher": "t-1"})
    path, _ = exported(load_network(card), "safetensors", tmp_path)
    again = load_network(tmp_path / "net.toml")
    np.testing.assert_array_equal(predict(again, pixels()), predict(load_network(card), pixels()))
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["provenance"]) == {"teacher": "t-1"}
    assert again.card.weights == str(path.resolve())
    assert "net.safetensors" in (tmp_path / "net.toml").read_text()


class Moody(nn.Module):
    """Gives other logits every time: nothing that is written says the same."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(x.mean((2, 3)) + torch.rand(1))
        return logits


class TwoOnly(nn.Module):
    """Works for two images and no other number."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = (
            self.fc(x.mean((2, 3)).view(2, 3)) if len(x) == 2 else self.fc(x.mean((2, 3)))
        )
        return logits


@pytest.mark.parametrize("module", [Moody(), TwoOnly()])
def test_what_says_something_else_is_not_written(module: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "sub" / "net.pt"
    said = (
        r"net\.pt is not written: .* differ" if isinstance(module, Moody) else "cannot be written"
    )
    with pytest.raises(NetworkError, match=said):
        export_network(network(module), "torchscript", path, pixels(4, 8))
    assert list(path.parent.iterdir()) == []


def test_the_tolerance_is_one_of_the_largest_logit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tiny()
    with torch.no_grad():
        made.classifier.weight.mul_(1e4)
    found = export_network(made, "torchscript", tmp_path / "a.pt", pixels(3, 8), tolerance=1e-5)
    assert found.largest_logit > 1000
    too_far = 2e-5 * found.largest_logit
    monkeypatch.setattr("distill.exporting.export._apart", lambda *_: too_far)
    with pytest.raises(NetworkError, match="raise --tolerance"):
        export_network(made, "torchscript", tmp_path / "b.pt", pixels(3, 8), tolerance=1e-5)


@pytest.mark.parametrize("tolerance", [float("nan"), float("inf"), -1])
def test_a_tolerance_without_sense_is_refused_before_any_work(
    tmp_path: Path, tolerance: float
) -> None:
    with pytest.raises(UsageError, match=f"--tolerance is {tolerance:g}: it must be finite"):
        check_export("torchscript", tmp_path / "a.pt", "normalised", tolerance)
    check_export("torchscript", tmp_path / "a.pt", "normalised", 0)


@pytest.mark.parametrize("name", ["file/a.pt", "file/sub/a.pt", f"{'a' * 260}.pt"])
def test_a_file_that_cannot_be_is_refused_before_any_work(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"^cannot write .*: name another file$"):
        check_export("torchscript", tmp_path / name, "normalised")


@pytest.mark.parametrize(
    ("name", "file", "form", "said"),
    [
        ("tflite", "a.tflite", "normalised", "--to 'tflite' is unknown"),
        ("torchscript", "a.onnx", "normalised", r"a\.onnx: a file of torchscript ends in \.pt"),
        ("torchscript", "a.pt", "bgr", "--input 'bgr' is unknown"),
        ("safetensors", "a.safetensors", "uint8", "holds weights alone, and cannot normalise"),
        ("safetensors", "there.safetensors", "normalised", r"there\.toml exists: remove it"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    tmp_path: Path, name: str, file: str, form: str, said: str
) -> None:
    (tmp_path / "there.toml").touch()
    with pytest.raises(UsageError, match=said):
        check_export(name, tmp_path / file, form)


def test_one_image_cannot_show_that_their_number_is_free(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 2 images"):
        export_network(tiny(), "torchscript", tmp_path / "a.pt", pixels(1, 8))


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from distill.exporting import export

    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs onnx, .*pip install 'kdcurate\[onnx\]'"):
        check_export("onnx", tmp_path / "a.onnx", "normalised")


def onnx_file(made: Network, folder: Path, form: str) -> Exported:
    pytest.importorskip("onnx", reason="needs ONNX: pip install 'kdcurate[onnx]'")
    pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'kdcurate[onnx]'")
    side = made.card.input.size
    return export_network(made, "onnx", folder / "net.onnx", pixels(4, side), form=form)


def test_onnx_says_the_same_takes_any_number_and_carries_the_card(tmp_path: Path) -> None:
    assert onnx_file(tiny(), tmp_path, "uint8").difference < 1e-4
    import onnx
    import onnxruntime

    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    (given,) = session.get_inputs()
    assert (given.name, given.type, given.shape[1:]) == ("images", "tensor(uint8)", [3, 8, 8])
    images = pixels(6, 8)
    (logits,) = session.run(["logits"], {"images": images.transpose(0, 3, 1, 2)})
    np.testing.assert_allclose(logits, predict(tiny(), images), atol=1e-4)
    (fact,) = onnx.load(tmp_path / "net.onnx").metadata_props
    assert fact.key == FACTS and json.loads(fact.value)["card"]["classes"] == tiny().card.classes
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FAMILIES, "shared"])
def test_every_family_is_the_same_in_onnx(name: str, tmp_path: Path) -> None:
    made = shared() if name == "shared" else zoo(name)
    assert onnx_file(made, tmp_path, "normalised").difference < 1e-3
