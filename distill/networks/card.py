"""A card: which network, with which weights, for which classes and input."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError, model_validator

from distill.networks import zoo
from distill.networks.input import InputSpec
from distill.networks.mistaken import near_file, refuse_path
from index.catalog import Catalog
from index.errors import NetworkError
from index.models import register_model

Option = bool | int | float | str


class Head(BaseModel):
    """The classifier that a student shares with its teacher, behind a projector (KD3 paper).

    ``size`` is the side of the map that the projector sees where the student's own is larger.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["shared"] = "shared"
    in_channels: PositiveInt
    out_channels: PositiveInt
    size: PositiveInt


class Card(BaseModel):
    """Everything that is needed to build a network again; ``weights`` is an absolute path."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    architecture: str
    weights: str | None = None
    classes: list[str] | None = None
    num_classes: PositiveInt | None = None
    input: InputSpec
    options: dict[str, Any] = {}
    head: Head | None = None
    provenance: dict[str, str] = {}

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        if self.classes and self.num_classes not in (None, len(self.classes)):
            raise ValueError(f"num_classes = {self.num_classes} but {len(self.classes)} classes")
        return self

    @property
    def class_count(self) -> int | None:
        """Number of classes K, or None where the card leaves it to the network."""
        return len(self.classes) if self.classes else self.num_classes


def resolve(source: str | Path | Card) -> Card:
    """Return the card behind a path that ends in .toml, or behind a spec string.

    Raises:
        NetworkError: as `read_card`; or a path to something else, or to nothing.
    """
    if isinstance(source, Card):
        return source
    if str(source).endswith(".toml"):
        return read_card(Path(source))
    refuse_path(str(source))
    return card_from_spec(str(source))


def read_card(path: Path) -> Card:
    """Read a TOML card; its paths are relative to the card's own folder.

    Raises:
        NetworkError: no such file, not TOML, an unknown or missing key, or an unknown architecture.
    """
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise NetworkError(f"{path}: no such file{near_file(path)}") from error
    except OSError as error:
        raise NetworkError(f"{path}: cannot read this card ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise NetworkError(f"{path}: not a TOML file ({error}); mend it") from error
    try:
        return _card(raw, folder=path.parent)
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from error


def card_from_spec(
    spec: str, *, num_classes: int | None = None, input: InputSpec | None = None
) -> Card:
    """Build a card from a spec such as ``cifar:resnet8?shortcut=pad``.

    What stands behind ``?`` are options; numbers, ``true`` and ``false`` are read as such.
    """
    architecture, _, query = spec.partition("?")
    raw: dict[str, Any] = {"architecture": architecture, "options": _options(query)}
    if num_classes is not None:
        raw["num_classes"] = num_classes
    if input is not None:
        raw["input"] = input.model_dump()
    return _card(raw, folder=Path())


def write_card(card: Card, path: Path) -> None:
    """Write a card as TOML; weights that lie in the card's folder are named relative to it."""
    raw = card.model_dump(exclude_none=True)
    if card.weights and Path(card.weights).parent == path.parent.resolve():
        raw["weights"] = Path(card.weights).name
    tables = {key: value for key, value in raw.items() if isinstance(value, Mapping)}
    lines = _assignments({key: value for key, value in raw.items() if key not in tables})
    for name, table in tables.items():
        if table:
            lines += ["", f"[{name}]", *_assignments(table)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def register(catalog: Catalog, key: str, card: Card) -> None:
    """Record a network once, under its key, in the catalog's list of models."""
    register_model(catalog, key, card.architecture, card.model_dump_json(), card.classes)


def _card(raw: dict[str, Any], *, folder: Path) -> Card:
    raw = dict(raw)
    architecture = raw.get("architecture")
    if not isinstance(architecture, str):
        raise NetworkError('no architecture: add a line such as architecture = "cifar:resnet20"')
    architecture, file = _split_weights_file(architecture, folder)
    raw["architecture"] = architecture
    if file or isinstance(raw.get("weights"), str):
        raw["weights"] = str(file or (folder / raw["weights"]).resolve())
    zoo.check(architecture)
    if "input" not in raw:
        raw["input"] = zoo.default_input(architecture, raw.get("options")).model_dump()
    try:
        return Card.model_validate(raw)
    except ValidationError as error:
        raise NetworkError(_first_problem(error)) from error


def _split_weights_file(architecture: str, folder: Path) -> tuple[str, Path | None]:
    """Split ``open_clip:MODEL/FILE``, so that a card's key hashes the file and not its path."""
    model, _, tag = architecture.partition("/")
    if model.startswith("open_clip:") and tag and (folder / tag).is_file():
        return model, (folder / tag).resolve()
    return architecture, None


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown key '{key}': remove it"
    return f"'{key}': {problem['msg']}" if key else problem["msg"]


def _options(query: str) -> dict[str, Option]:
    return {name: _scalar(text) for name, text in parse_qsl(query, keep_blank_values=True)}


def _scalar(text: str) -> Option:
    try:
        value: Option = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return value if isinstance(value, bool | int | float) else text


def _assignments(table: Mapping[str, Any]) -> list[str]:
    return [f"{_key(key)} = {_value(value)}" for key, value in table.items()]


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(_assignments(value)) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    # JSON's strings, numbers and booleans are TOML's too, but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
