"""torchvision's data sets, from small files in the layouts that they have on disk."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

from distill.labelled import check_labelled, load_labelled
from distill.labelled.vision import SETS
from index.decoding import View
from index.errors import DataError, UsageError

VIEW = View(32)


def noise(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)


def idx(path: Path, values: Any) -> None:
    """Write the format of MNIST: two zeros, 8 for uint8, the number of dimensions, their sizes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, values.ndim])
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    path.write_bytes(header + sizes + values.tobytes())


def mnist(root: Path, name: str = "MNIST") -> tuple[Any, Any]:
    images, labels = noise(5, 28, 28), np.array([7, 0, 9, 1, 7], np.uint8)
    for split, count in (("train", 2), ("t10k", 5)):
        raw = root / name / "raw"
        idx(raw / f"{split}-images-idx3-ubyte", images[:count])
        idx(raw / f"{split}-labels-idx1-ubyte", labels[:count])
    return images, labels


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def cifar(root: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> tuple[Any, list[int]]:
    """Write pickles as the archive has them; only the sums that are published are replaced."""
    hundred = name == "CIFAR100"
    folder = root / ("cifar-100-python" if hundred else "cifar-10-batches-py")
    folder.mkdir(parents=True)
    rows, labels = noise(4, 3072), [3, 1, 9, 3]
    key, meta = ("fine_labels", "fine_label_names") if hundred else ("labels", "label_names")
    classes = [f"c{k}" for k in range(100)] if hundred else list("abcdefghij")
    names = {"test": "test"} if hundred else {"test": "test_batch"}
    names["meta"] = "meta" if hundred else "batches.meta"
    (folder / names["test"]).write_bytes(pickle.dumps({"data": rows, key: labels}))
    (folder / names["meta"]).write_bytes(pickle.dumps({meta: classes}))
    kind = getattr(datasets, name)
    monkeypatch.setattr(kind, "train_list", [])
    monkeypatch.setattr(kind, "test_list", [[names["test"], md5(folder / names["test"])]])
    monkeypatch.setitem(kind.meta, "md5", md5(folder / names["meta"]))
    return rows.reshape(4, 3, 32, 32).transpose(0, 2, 3, 1), labels


def svhn(root: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """Write the MATLAB file: images (32, 32, 3, N), and the digit 0 called 10."""
    images = noise(32, 32, 3, 3)
    savemat(root / "test_32x32.mat", {"X": images, "y": np.array([[10], [1], [9]], np.uint8)})
    url, file, _ = datasets.SVHN.split_list["test"]
    monkeypatch.setitem(datasets.SVHN.split_list, "test", [url, file, md5(root / "test_32x32.mat")])
    return images.transpose(3, 0, 1, 2), np.array([0, 1, 9])


def imagenet(root: Path) -> list[int]:
    """Write the meta file that torchvision makes, and two classes of `val` with files."""
    names = {"n01": ("tench", "Tinca tinca"), "n02": ("goldfish",)}
    root.mkdir(exist_ok=True)
    torch.save((names, ["n02", "n01"]), root / "meta.bin")
    for wnid, count in (("n02", 1), ("n01", 2)):
        (root / "val" / wnid).mkdir(parents=True)
        for place in range(count):
            image = Image.fromarray(noise(40, 48, 3, seed=place))
            image.save(root / "val" / wnid / f"ILSVRC2012_val_{place:08d}.JPEG")
    return [0, 0, 1]


def test_mnist_has_three_equal_channels_at_the_size_that_is_asked_for(tmp_path: Path) -> None:
    images, labels = mnist(tmp_path)
    found = load_labelled(f"torchvision:MNIST?root={tmp_path}", View(28))
    np.testing.assert_array_equal(found.pixels, images[..., None].repeat(3, axis=3))
    np.testing.assert_array_equal(found.labels, labels)
    larger = load_labelled(f"torchvision:MNIST?root={tmp_path}&split=train", VIEW)
    assert larger.pixels.shape == (2, 32, 32, 3)
    assert (larger.pixels.min(axis=3) == larger.pixels.max(axis=3)).all()
    shrunk = Image.fromarray(images[0]).resize((32, 32), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(larger.pixels[0, :, :, 0], np.asarray(shrunk))


@pytest.mark.parametrize("name", ["CIFAR10", "CIFAR100"])
def test_cifar_is_read_from_its_pickles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    images, labels = cifar(tmp_path, monkeypatch, name)
    found = load_labelled(f"torchvision:{name}?root={tmp_path}&split=test", VIEW)
    np.testing.assert_array_equal(found.pixels, images)
    assert found.labels.tolist() == labels


def test_a_pickle_that_is_not_the_published_one_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cifar(tmp_path, monkeypatch, "CIFAR10")

    class Harmful:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path(tmp_path / "opened").touch, ())

    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(DataError, match="cannot read it .*corrupted.*put whole files there"):
        load_labelled(f"torchvision:CIFAR10?root={tmp_path}", VIEW)
    assert not (tmp_path / "opened").exists()


def test_svhns_ten_is_a_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = svhn(tmp_path, monkeypatch)
    found = load_labelled(f"torchvision:SVHN?root={tmp_path}", VIEW)
    np.testing.assert_array_equal(found.pixels, images)
    np.testing.assert_array_equal(found.labels, labels)


def test_imagenets_files_go_through_the_safe_decoder(tmp_path: Path) -> None:
    labels = imagenet(tmp_path / "imagenet")
    source = f"torchvision:ImageNet?root={tmp_path / 'imagenet'}"
    found = load_labelled(source, View(24, 28))
    assert (found.labels.tolist(), found.pixels.shape) == (labels, (3, 24, 24, 3))
    assert load_labelled(source, VIEW, ["goldfish", "tench"]).labels.tolist() == [1, 1, 0]
    (tmp_path / "imagenet/val/n02/ILSVRC2012_val_00000000.JPEG").write_bytes(b"<html>")
    with pytest.raises(DataError, match=r"val_00000000\.JPEG: not an image"):
        load_labelled(source, VIEW)


def test_usps_is_read_from_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import bz2

    values = np.linspace(-1, 1, 256)
    line = "3 " + " ".join(f"{k}:{value:.6f}" for k, value in enumerate(values, 1)) + " \n"
    (tmp_path / "usps.t.bz2").write_bytes(bz2.compress(line.encode()))
    url, file, _ = datasets.USPS.split_list["test"]
    monkeypatch.setitem(datasets.USPS.split_list, "test", [url, file, md5(tmp_path / file)])
    found = load_labelled(f"torchvision:USPS?root={tmp_path}", View(16))
    assert found.labels.tolist() == [2]  # the file counts from 1
    expected = ((values + 1) / 2 * 255).reshape(16, 16)
    np.testing.assert_allclose(found.pixels[0, :, :, 1], expected, atol=1.001)  # cut, not rounded


def test_a_label_is_the_number_of_its_name_where_the_network_knows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, labels = cifar(tmp_path, monkeypatch, "CIFAR10")
    source = f"torchvision:CIFAR10?root={tmp_path}"
    names = list("abcdefghij")

    def read(classes: Sequence[str]) -> list[int]:
        return load_labelled(source, VIEW, classes).labels.tolist()

    assert read(names[::-1]) == [9 - label for label in labels]
    assert read([f"class {k}" for k in range(10)]) == labels  # other names, as many
    with pytest.raises(DataError, match=r"has 10 classes \(a, b, c, .*the card 3"):
        read(["x", "y", "z"])
    with pytest.raises(DataError, match="name the card's classes as they are called there"):
        read(["x", "a", *names[2:]])


def test_the_papers_data_sets_are_there() -> None:
    assert SETS.keys() >= {"MNIST", "SVHN", "CIFAR10", "CIFAR100", "ImageNet"}
    assert all(hasattr(datasets, name) for name in SETS)


@pytest.mark.parametrize(
    ("source", "error", "said"),
    [
        ("torchvision:CIFAR?root={0}", UsageError, "no data set .*did you mean CIFAR10"),
        ("torchvision:CIFAR10", UsageError, "say where its files are"),
        ("torchvision:CIFAR10?root={0}&splt=test", UsageError, "no key 'splt': did you mean split"),
        ("torchvision:SVHN?root={0}&split=val", UsageError, "no split 'val'"),
        ("torchvision:SVHN?root={0}&download=1", UsageError, "write true or false"),
        ("torchvision:ImageNet?root={0}&download=true", UsageError, "cannot be downloaded"),
        ("torchvision:MNIST?root={0}/no", DataError, "no/? is no folder; .*download=true"),
    ],
)
def test_a_wrong_spec_is_refused_before_any_work(
    tmp_path: Path, source: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        check_labelled(source.format(tmp_path))


@pytest.mark.parametrize("name", SETS)
def test_files_that_are_not_there_are_not_downloaded(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="torchvision cannot read it"):
        load_labelled(f"torchvision:{name}?root={tmp_path}", VIEW)
