"""What a user meant who named a card by a path, and no card lies there."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

from distill.networks.zoo import FAMILIES
from index.errors import NetworkError, closest

_WEIGHT_SUFFIXES = (".th", ".pth", ".pt", ".bin", ".ckpt", ".safetensors")
_LOOKED_AT = 10_000  # of a folder, which may be a crawl


def refuse_path(source: str) -> None:
    """Refuse what is a path, or looks like one, where a card or a spec is asked for.

    Raises:
        NetworkError: a file, with how a card for it is written; a folder; or a path where there
            is nothing, with the nearest name that there is.
    """
    family, separator, _ = source.partition(":")
    if separator and family in FAMILIES:  # its name may hold a `/`, as open_clip:MODEL/TAG
        return
    path = Path(source)
    if path.is_file():
        raise NetworkError(f"{path} is no card: {_card_for(path)}")
    if path.is_dir():
        raise NetworkError(f"{path} is a folder: name the card (.toml) in it")
    if os.sep in source or (path.suffix and not separator):  # package.module:factory has a colon
        raise NetworkError(f"{path}: no such file{near_file(path)}")


def near_file(path: Path) -> str:
    """Return the end of a message about a file that is not there: a near name beside it, if any.

    A card is taken rather than another file.
    """
    try:
        beside = sorted(one.name for one in islice(path.parent.iterdir(), _LOOKED_AT))
    except OSError:
        return f", nor a folder {path.parent}" if not path.parent.exists() else ""
    cards = [name for name in beside if name.endswith(".toml")]
    near = closest(path.name, cards) or closest(path.name, beside)
    return f"; did you mean {path.with_name(near)}?" if near else ""


def _card_for(path: Path) -> str:
    card = path.with_suffix(".toml")
    if card.is_file():
        return f"did you mean {card}?"
    if path.suffix not in _WEIGHT_SUFFIXES:
        return 'a card is a file NAME.toml with a line such as architecture = "cifar:resnet20"'
    return (
        f"write one beside it, {card.name}, of three lines, "
        f'architecture = "cifar:resnet20" (or what it is), weights = "{path.name}" and '
        "num_classes = 10 (or what it has), and name that"
    )
