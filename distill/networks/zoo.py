"""The architectures that can be named: PREFIX:NAME, or package.module:factory for one's own.

Adding a network for small images means one file and one line in ``distill.networks.cifar``; adding
a family means writing its three functions and adding one line to ``FAMILIES``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from distill.networks import cifar, clip, hub
from distill.networks.input import InputSpec
from index.errors import NetworkError, closest

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Family:
    """Names of its architectures, how one is built, and the input one expects by default."""

    names: Callable[[], Sequence[str]]
    build: Callable[[str, int | None, Options], nn.Module]
    default_input: Callable[[str, Options], InputSpec]


def _build_cifar(name: str, num_classes: int | None, options: Options) -> nn.Module:
    return cifar.build(name, hub.required(num_classes), options)


FAMILIES: dict[str, Family] = {
    "cifar": Family(cifar.names, _build_cifar, lambda *_: InputSpec(size=32)),
    "torchvision": Family(hub.torchvision_names, hub.build_torchvision, hub.torchvision_input),
    "timm": Family(hub.timm_names, hub.build_timm, hub.timm_input),
    "open_clip": Family(clip.names, clip.refuse_classifier, clip.default_input),
}


def check(architecture: str) -> None:
    """Refuse an architecture that does not exist.

    Raises:
        NetworkError: it names the nearest architecture that does.
    """
    prefix, separator, name = architecture.partition(":")
    if not separator:
        raise NetworkError(f"'{architecture}' is no architecture{_hint(architecture)}")
    if prefix not in FAMILIES:
        _factory(architecture)
    elif _base(name) not in FAMILIES[prefix].names():
        raise NetworkError(f"'{prefix}' has no architecture '{name}'{_hint(name, prefix)}")


def default_input(architecture: str, options: Options | None = None) -> InputSpec:
    """Input that an architecture is known to expect; 224 pixels for one's own factory."""
    check(architecture)
    prefix, _, name = architecture.partition(":")
    if prefix not in FAMILIES:
        return InputSpec(size=224)
    return FAMILIES[prefix].default_input(name, options or {})


def build(architecture: str, num_classes: int | None, options: Options | None = None) -> nn.Module:
    """Build an architecture with K = num_classes outputs; only ``pretrained`` downloads weights.

    Raises:
        NetworkError: unknown architecture, an option it does not take, or no number of classes.
    """
    check(architecture)
    prefix, _, name = architecture.partition(":")
    try:
        if prefix in FAMILIES:
            return FAMILIES[prefix].build(name, num_classes, options or {})
        return _factory(architecture)(num_classes=hub.required(num_classes), **(options or {}))
    except NetworkError as error:
        raise NetworkError(f"{architecture}: {error}") from error
    except (TypeError, ValueError, KeyError, AssertionError) as error:
        raise NetworkError(f"{architecture}: its options do not fit it ({error})") from error


def short_name(architecture: str) -> str:
    """Name of an architecture without family, tag or module, fit for a file name."""
    name = _base(architecture.partition(":")[2])
    return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name)


def _base(name: str) -> str:
    """Cut what says which weights: ``MODEL/TAG`` of open_clip."""
    return name.partition("/")[0]


def _factory(architecture: str) -> Callable[..., nn.Module]:
    module_name, _, attribute = architecture.partition(":")
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise NetworkError(
            f"'{architecture}': neither one of {', '.join(FAMILIES)} nor importable "
            f"({error}){_hint(attribute)}"
        ) from error
    if not callable(factory):
        raise NetworkError(f"'{architecture}' is not a function that builds a network")
    made: Callable[..., nn.Module] = factory
    return made


def _hint(name: str, prefix: str = "cifar") -> str:
    near = closest(_base(name), FAMILIES[prefix].names(), cutoff=0.4)
    return f"; did you mean '{prefix}:{near}'?" if near else "; see `kdcurate models`"
