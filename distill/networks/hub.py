"""The torchvision and timm families: any of their classifiers, with random weights unless asked.

The option ``pretrained`` (true, or the name of a set of weights) is what downloads weights; the
number of classes is then the one that the weights were trained for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from distill.networks.input import InputSpec
from index.errors import NetworkError

Options = Mapping[str, Any]


def required(num_classes: int | None) -> int:
    """Return the number of classes, or say that it is missing."""
    if num_classes is None:
        raise NetworkError("the number of classes is not known: give `classes` or `num_classes`")
    return num_classes


def torchvision_names() -> list[str]:
    """Names of torchvision's classifiers."""
    import torchvision

    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    return names


def build_torchvision(name: str, num_classes: int | None, options: Options) -> nn.Module:
    """Build a torchvision classifier."""
    from torchvision.models import get_model

    pretrained, rest = _split(options)
    if pretrained:
        tag = "DEFAULT" if pretrained is True else pretrained
        return _downloaded(name, lambda: get_model(name, weights=tag, **rest))
    built: nn.Module = get_model(name, weights=None, num_classes=required(num_classes), **rest)
    return built


def torchvision_input(name: str, options: Options) -> InputSpec:
    """Input of the weights named by ``pretrained``, else of the architecture's default ones."""
    from torchvision.models import get_model_weights

    pretrained, _ = _split(options)
    weights = get_model_weights(name)
    try:
        chosen = weights[pretrained] if isinstance(pretrained, str) else weights.DEFAULT
    except KeyError as error:
        raise NetworkError(f"torchvision:{name} has no weights '{pretrained}'") from error
    view = chosen.transforms()
    return InputSpec(
        size=view.crop_size[0],
        resize=view.resize_size[0],
        mean=tuple(view.mean),
        std=tuple(view.std),
        interpolation=view.interpolation.value,
    )


def timm_names() -> list[str]:
    """Names of timm's architectures, with and without a weights tag."""
    import timm

    return [*timm.list_models(), *timm.list_pretrained()]


def build_timm(name: str, num_classes: int | None, options: Options) -> nn.Module:
    """Build a timm classifier."""
    import timm

    pretrained, rest = _split(options)
    if not pretrained:
        return timm.create_model(name, num_classes=required(num_classes), **rest)
    tagged = name if pretrained is True else f"{name}.{pretrained}"
    return _downloaded(name, lambda: timm.create_model(tagged, pretrained=True, **rest))


def timm_input(name: str, options: Options) -> InputSpec:
    """Input of timm's own evaluation for these weights."""
    import timm

    pretrained, _ = _split(options)
    tagged = f"{name}.{pretrained}" if isinstance(pretrained, str) else name
    config = timm.get_pretrained_cfg(tagged, allow_unregistered=True)
    if config is None:
        return InputSpec(size=224)
    size = config.input_size[-1]
    return InputSpec(
        size=size,
        resize=int(size / config.crop_pct),
        mean=config.mean,
        std=config.std,
        interpolation=config.interpolation,
    )


def _split(options: Options) -> tuple[bool | str, dict[str, Any]]:
    rest = dict(options)
    return rest.pop("pretrained", False), rest


def _downloaded(name: str, load: Callable[[], nn.Module]) -> nn.Module:
    try:
        return load()
    except (OSError, RuntimeError) as error:
        raise NetworkError(
            f"cannot get the pretrained weights of {name} ({error}); give a file as "
            "`weights` where there is no internet"
        ) from error
