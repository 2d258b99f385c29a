"""Embedders: penultimate vectors of classifiers, and a small open_clip model built on the spot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from distill.networks import load_embedder, load_network, normalise
from distill.networks.card import resolve
from index.errors import NetworkError

from .helpers import tiny

CLIP = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def clip_weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("clip")
    (folder / "kdcurate-tiny.json").write_text(json.dumps(CLIP))
    open_clip.add_model_config(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.create_model("kdcurate-tiny")
    torch.save(model.state_dict(), folder / "clip.pt")
    yield folder / "clip.pt"
    open_clip.factory._MODEL_CONFIGS.pop("kdcurate-tiny")
    open_clip.factory._MODEL_CONFIG_PATHS.remove(folder)


def photos(count: int, size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(256, size=(count, size, size, 3), dtype=np.uint8)


def test_a_classifier_embeds_by_its_penultimate_vector() -> None:
    net = tiny()
    embed = load_embedder(net)
    images = photos(3, 8)
    with torch.no_grad():
        expected = net.outputs(normalise(torch.from_numpy(images), net.card.input)).penultimate
    assert (embed.key, embed.dim, embed.input) == (net.key, 4, net.card.input)
    assert embed(images).dtype == np.float32
    np.testing.assert_allclose(embed(images), expected.numpy(), atol=1e-5)


def test_a_classifier_cannot_read() -> None:
    with pytest.raises(NetworkError, match="open_clip"):
        load_embedder(tiny()).embed_text(["a cat"])


def test_a_classifier_without_weights_is_no_embedder() -> None:
    with pytest.raises(NetworkError, match="would be random"):
        load_embedder("cifar:resnet8")


def test_clip_embeds_images_and_texts_into_one_space(clip_weights: Path) -> None:
    embed = load_embedder(f"open_clip:kdcurate-tiny/{clip_weights}")
    assert (embed.dim, embed.input.size, embed.input.interpolation) == (12, 16, "bicubic")
    assert embed.key.startswith("kdcurate-tiny-")
    images = photos(3, 16)
    found = embed(images)
    assert found.shape == (3, 12) and found.dtype == np.float32
    np.testing.assert_allclose(embed(images[1:2]), found[1:2], atol=1e-5)
    assert embed.embed_text(["a cat", "a dog"]).shape == (2, 12)


def test_a_clip_card_and_its_spec_name_the_same_network(clip_weights: Path, tmp_path: Path) -> None:
    lines = ['architecture = "open_clip:kdcurate-tiny"', f'weights = "{clip_weights}"']
    (tmp_path / "clip.toml").write_text("\n".join(lines))
    card, spec = resolve(tmp_path / "clip.toml"), resolve(f"open_clip:kdcurate-tiny/{clip_weights}")
    assert card == spec
    assert load_embedder(tmp_path / "clip.toml").key == load_embedder(spec).key


def test_clip_without_weights_is_refused(clip_weights: Path) -> None:
    with pytest.raises(NetworkError, match="without weights would be random"):
        load_embedder("open_clip:kdcurate-tiny")
    with pytest.raises(NetworkError, match="no-such-tag"):
        load_embedder("open_clip:kdcurate-tiny/no-such-tag")


def test_clip_weights_of_another_model_are_refused(clip_weights: Path, tmp_path: Path) -> None:
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(NetworkError, match=r"other\.pt"):
        load_embedder(f"open_clip:kdcurate-tiny/{tmp_path / 'other.pt'}")


def test_clip_is_no_teacher(clip_weights: Path) -> None:
    with pytest.raises(NetworkError, match="no classifier"):
        load_network(f"open_clip:kdcurate-tiny/{clip_weights}")
