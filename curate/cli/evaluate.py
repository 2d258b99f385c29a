"""kdcurate evaluate."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.cli.arguments import Device, Json, Seed, pick_device
from curate.cli.output import note, print_json, print_pairs, print_table

if TYPE_CHECKING:
    from distill.evaluation import Report
    from distill.networks import Network

DATA_HELP = (
    "Parquet with image and label, a folder with one per class, or torchvision:CIFAR10?root=DIR; "
    "docs/evaluate.md has every layout."
)
CORRUPT_HELP = (
    "Corrupted copies too: jpeg, noise, blur, contrast, brightness, pixelate, or all; each at five "
    "severities, or at one, as jpeg:2. Repeatable."
)
# What a screen takes; --json and --confusion have all.
_CLASSES, _WORST, _PAIRS = 20, 10, 5


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("evaluate")(evaluate)


def evaluate(
    network: Annotated[str, typer.Argument(help="Card (.toml) or spec; a student.toml too.")],
    data: Annotated[str, typer.Option(help=DATA_HELP)],
    teacher: Annotated[
        str | None, typer.Option(help="Card or spec: how often both answer the same.")
    ] = None,
    corrupt: Annotated[list[str] | None, typer.Option(metavar="KIND", help=CORRUPT_HELP)] = None,
    confusion: Annotated[
        Path | None, typer.Option(help="Write the whole confusion matrix to this CSV file.")
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Measure a network on labelled images: accuracy, calibration, each class, confusions.

    Example: kdcurate evaluate WS/runs/RUN/student.toml --data test.parquet --corrupt jpeg
    """
    from curate.confusion import write_confusion
    from distill.corruptions import parse_corruptions
    from distill.evaluation import evaluate_on
    from distill.labelled import check_labelled
    from distill.networks import load_network
    from index.files import check_target

    corruptions = parse_corruptions(corrupt or [], seed)
    check_labelled(data)
    if confusion is not None:
        check_target(confusion)
    place = pick_device(device)
    judge = _on(load_network(teacher), place) if teacher else None
    loaded = _on(load_network(network), place)
    report = evaluate_on(loaded, data, place, teacher=judge, corruptions=corruptions)
    figures = report.clean.figures() | _costs(loaded)
    if json:
        print_json(figures | _everything(report, loaded))
    else:
        print_pairs(figures)
        _print_classes(report, loaded)
        _print_shifted(report)
    if confusion is not None:  # last: what was measured is told even where it cannot be written
        write_confusion(confusion, report.clean.confusion, loaded.card.classes)
        if not json:
            note(f"wrote {confusion}")


def _on(network: Network, device: str) -> Network:
    import torch

    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _costs(network: Network) -> dict[str, Any]:
    from dataclasses import asdict

    from distill.latency import cpu_latency_ms
    from distill.networks.cost import cost

    size = network.card.input.size
    network = network.to("cpu")
    return asdict(cost(network.module, size)) | {"cpu_ms": cpu_latency_ms(network.module, size)}


def _everything(report: Report, network: Network) -> dict[str, Any]:
    return {
        "classes": [
            {**vars(one), "accuracy": one.accuracy}
            for one in report.clean.classes(network.card.classes)
        ],
        "confusion": report.clean.confusion.tolist(),
        "shifted": [
            {**vars(corruption), "setting": corruption.setting, **found.figures()}
            for corruption, found in report.shifted
        ],
    }


def _print_classes(report: Report, network: Network) -> None:
    from curate.confusion import most_confused

    found = report.clean.classes(network.card.classes)
    listed = [one for one in found if one.accuracy is not None]
    if len(listed) > _CLASSES:
        listed = sorted(listed, key=lambda one: one.accuracy or 0.0)[:_WORST]
        sys.stdout.write(f"\nThe {_WORST} classes that it knows worst; --json has all\n")
    columns = ("class", "name", "n", "correct", "accuracy", "predicted")
    sys.stdout.write("\n")
    print_table(
        columns,
        [
            (one.number, one.name or "", one.n, one.correct, one.accuracy, one.predicted)
            for one in listed
        ],
    )
    pairs = most_confused(report.clean.confusion, network.card.classes, _PAIRS)
    if pairs:
        sys.stdout.write("\n")
        print_table(("true", "answer", "images", "share of the class"), pairs)


def _print_shifted(report: Report) -> None:
    if not report.shifted:
        return
    clean = report.clean.accuracy
    rows = [
        (one.kind, one.severity, one.setting, found.accuracy, found.accuracy - clean, found.ece)
        for one, found in report.shifted
    ]
    sys.stdout.write("\n")
    columns = ("corruption", "severity", "setting", "accuracy", "change", "ece")
    print_table(columns, [("none", 0, "", clean, 0.0, report.clean.ece), *rows])
