"""Cards and specs: what is read is what was written, and mistakes are named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.networks.card import Card, Head, card_from_spec, read_card, resolve, write_card
from distill.networks.input import InputSpec
from index.errors import NetworkError

CARD = """
architecture = "cifar:resnet8"
weights = "nets/w.th"
classes = ["cat", "dog"]
[input]
size = 16
mean = [0.1, 0.2, 0.3]
std = [1, 1, 1]
[options]
shortcut = "pad"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "net.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_cards_paths_are_relative_to_it(tmp_path: Path) -> None:
    card = read_card(write(tmp_path, CARD))
    assert card.weights == str((tmp_path / "nets" / "w.th").resolve())
    assert card.class_count == 2
    assert card.input.mean == (0.1, 0.2, 0.3)
    assert card.options == {"shortcut": "pad"}


def test_a_spec_carries_typed_options() -> None:
    card = card_from_spec("cifar:resnet8?shortcut=pad&a=1&b=0.5&c=true&d=x%20y", num_classes=3)
    assert card.options == {"shortcut": "pad", "a": 1, "b": 0.5, "c": True, "d": "x y"}
    assert card.num_classes == 3
    assert card.input.size == 32


def test_an_input_is_taken_from_the_architecture_where_the_card_has_none() -> None:
    card = resolve("torchvision:resnet18")
    assert (card.input.size, card.input.resize) == (224, 256)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CARD.replace("weights", "weigths"), "weigths"),
        (CARD.replace("size = 16", "size = 16\ncrop = 3"), "input.crop"),
        (CARD.replace("size = 16", ""), "input.size"),
        (CARD.replace("size = 16", "size = -1"), "input.size"),
        (CARD.replace("cifar:resnet8", "cifar:resnt8"), "did you mean 'cifar:resnet8'"),
        (CARD.replace("cifar:resnet8", "no_such_module:net"), "no_such_module"),
        (CARD.replace('classes = ["cat", "dog"]', 'classes = ["cat"]\nnum_classes = 3'), "3"),
        ("size = 3", "no architecture"),
        ("architecture = [", "not a TOML file"),
    ],
)
def test_a_bad_card_is_refused_with_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(NetworkError) as caught:
        read_card(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_card_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="none.toml"):
        read_card(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("resnet20.tml", "resnet20.tml: no such file; did you mean {}/resnet20.toml?"),
        ("resnet02.toml", "resnet02.toml: no such file; did you mean {}/resnet20.toml?"),
        ("zzz.th", "zzz.th: no such file$"),
        ("no/net.th", "no such file, nor a folder {}/no"),
        ("w-12.th", 'no card: write one beside it, w-12.toml, .* weights = "w-12.th" and num_'),
        ("resnet20.th", "resnet20.th is no card: did you mean {}/resnet20.toml?"),
        ("README.md", "README.md is no card: a card is a file NAME.toml with a line"),
        ("", "is a folder: name the card"),
    ],
)
def test_a_path_to_no_card_is_not_taken_for_an_architecture(
    tmp_path: Path, named: str, said: str
) -> None:
    for name in ("resnet20.toml", "resnet20.th", "w-12.th", "README.md"):
        (tmp_path / name).write_text("")
    with pytest.raises(NetworkError, match=said.format(tmp_path).replace("?", r"\?")) as caught:
        resolve(str(tmp_path / named))
    assert "\n" not in str(caught.value) and "architecture; see" not in str(caught.value)


def test_a_name_in_the_current_folder_is_a_path_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.toml").write_text("")
    with pytest.raises(NetworkError, match=r"^net.tml: no such file; did you mean net.toml\?"):
        resolve("net.tml")
    with pytest.raises(NetworkError, match="'resnet20' is no architecture; did you mean 'cifar:"):
        resolve("resnet20")


def test_of_names_that_are_as_near_the_one_with_the_nearest_number_is_meant() -> None:
    with pytest.raises(NetworkError, match="did you mean 'cifar:resnet20'"):
        resolve("cifar:resnet21")
    with pytest.raises(NetworkError, match="did you mean 'torchvision:resnet34'"):
        resolve("torchvision:resnet35")


text = st.text(st.characters(exclude_categories=["Cs"]))


@given(
    classes=st.lists(text, min_size=1, max_size=3),
    provenance=st.dictionaries(text, text, max_size=3),
    options=st.dictionaries(text, st.booleans() | st.integers(-9, 9) | text, max_size=3),
    std=st.floats(1e-9, 1e9),
)
def test_writing_and_reading_a_card_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    classes: list[str],
    provenance: dict[str, str],
    options: dict[str, bool | int | str],
    std: float,
) -> None:
    folder = tmp_path_factory.mktemp("cards").resolve()
    card = Card(
        architecture="cifar:resnet8",
        weights=str(folder / "student.safetensors"),
        classes=classes,
        input=InputSpec(size=8, std=(std, 1, 1)),
        options=options,
        head=Head(in_channels=4, out_channels=8, size=2),
        provenance=provenance,
    )
    write_card(card, folder / "card.toml")
    assert 'weights = "student.safetensors"' in (folder / "card.toml").read_text("utf-8")
    assert read_card(folder / "card.toml") == card
