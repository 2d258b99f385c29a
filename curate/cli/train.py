"""kdcurate distill and kdcurate evaluate."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.cli.arguments import Device, DryRun, Json, Seed, Workers, Workspace, pick_device
from curate.cli.output import TerminalProgress, note, print_json, print_pairs

if TYPE_CHECKING:
    from distill.networks import Network
    from distill.run import RunOptions
    from index.catalog import Catalog

METHOD_HELP = (
    "kd, kd3, dfnd, simkd, fitnet, at, crd, dkd, dist, or a plugin; without any images: dafl, "
    "dfad, zskt, dfq, ddad, deepinversion (di), adi, cmi, pre. docs/methods.md says which."
)
WITHOUT_HELP = (
    "Of kd3, to leave out: classifier_sharing, weighting, mix_distribution, or dynamic; repeatable."
)


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("distill")(distill)
    app.command("evaluate")(evaluate)


def distill(
    teacher: Annotated[str, typer.Option(help="Card (.toml) or spec of the teacher.")],
    student: Annotated[str, typer.Option(help="Spec or card of the student, as cifar:resnet8.")],
    manifest: Annotated[
        str | None,
        typer.Option(
            help="Manifest to train on, with --rounds its rules; not for methods without images."
        ),
    ] = None,
    method: Annotated[str, typer.Option(help=METHOD_HELP)] = "kd3",
    preset: Annotated[
        str | None,
        typer.Option(help="Of methods without images: paper (their numbers; default), fast."),
    ] = None,
    keep_images: Annotated[
        int, typer.Option(help="Catalogue so many of the images that such a method makes.")
    ] = 0,
    epochs: Annotated[
        int | None,
        typer.Option(help="Passes over the manifest (240), or 400 steps each (the method's)."),
    ] = None,
    max_steps: Annotated[int | None, typer.Option(help="Steps in all, instead of epochs.")] = None,
    rounds: Annotated[
        int, typer.Option(help="Re-select so many times with the student as it learns.")
    ] = 0,
    batch_size: Annotated[
        int | None, typer.Option(help="Images a step; default 128, or the method's.")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Peak; default: the method's.")] = None,
    schedule: Annotated[
        str | None, typer.Option(help="step, two-step, cosine, onecycle; default: the method's.")
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            help="crop (default; or the method's), shift (never mirrors), resized-crop, or none."
        ),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="Of the method: NAME=VALUE, as temperature=4.")
    ] = None,
    without: Annotated[list[str] | None, typer.Option(help=WITHOUT_HELP, metavar="PART")] = None,
    evaluate_on: Annotated[
        str | None,
        typer.Option("--eval", help="Labelled Parquet or folder, for the last step's accuracy."),
    ] = None,
    run: Annotated[
        str | None, typer.Option(help="Name of the run; default: from its options.")
    ] = None,
    workspace: Workspace = Path("workspace"),
    seed: Seed = 0,
    device: Device = "auto",
    precision: Annotated[
        str, typer.Option(help="auto (bfloat16 where the machine gains), float32, bfloat16.")
    ] = "auto",
    checkpoint_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 200,
    cache_budget: Annotated[float, typer.Option(help="GiB of decoded images in memory.")] = 4.0,
    workers: Workers = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Train a student on a manifest, or without any images; interrupted, run it again to go on.

    Example: kdcurate distill -w WS --manifest first --teacher teacher.toml --student cifar:resnet8
    """
    from curate.rounds import prepare_rounds
    from curate.synthetic import catalogue_images
    from distill.networks import load_network
    from distill.options import TrainOptions
    from distill.run import RunOptions
    from distill.run import distill as train
    from index.catalog import Catalog

    device = pick_device(device)
    options = RunOptions(
        manifest=manifest,
        teacher=teacher,
        student=student,
        method=method,
        train=TrainOptions(
            **training(method, preset, epochs=epochs, batch_size=batch_size, augment=augment),
            max_steps=max_steps,
            lr=lr,
            schedule=schedule,
            seed=seed,
            device=device,
            precision=precision,
            rounds=rounds,
            checkpoint_every=checkpoint_every,
        ),
        method_options=parse_options(option or [], without or []),
        name=run,
        evaluate_on=evaluate_on,
        cache_budget_gib=cache_budget,
        workers=workers,
        preset=preset,
        keep_images=keep_images,
    )
    catalog = Catalog(workspace)
    network = load_network(teacher)
    if dry_run:
        (print_json if json else print_pairs)(_plan(catalog, options, network))
        return
    progress = TerminalProgress()
    make_reselect = prepare_rounds(catalog, options, network, progress) if rounds else None
    result = train(
        catalog, options, teacher=network, make_reselect=make_reselect, progress=progress
    )
    if keep_images and result.images:
        images = Path(result.images)
        catalogue_images(
            catalog, images, network, device=device, workers=workers, progress=progress
        )
    (print_json if json else print_pairs)(asdict(result))
    if not json:
        command = shlex.join(["kdcurate", "evaluate", str(result.student)])
        note(f"next: {command} --data LABELLED")


def evaluate(
    network: Annotated[str, typer.Argument(help="Card (.toml) or spec; a student.toml too.")],
    data: Annotated[
        str, typer.Option(help="Parquet with image and label, or a folder with one per class.")
    ],
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Measure the accuracy of a network on labelled images.

    Example: kdcurate evaluate WS/runs/RUN/student.toml --data test.parquet
    """
    import torch

    from distill.evaluation import evaluate as measure
    from distill.images import load_labelled
    from distill.networks import load_network

    place = pick_device(device)
    loaded = load_network(network).to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]
    found = measure(
        loaded, load_labelled(data, loaded.card.input.view(), loaded.card.classes), place
    )
    (print_json if json else print_pairs)(asdict(found))


def training(method: str, preset: str | None, **given: Any) -> dict[str, Any]:
    """Return the options of the training that are given, and a data-free method's own for others.

    Raises:
        UsageError: an unknown preset.
    """
    from distill.datafree.registry import is_data_free, training_of

    known = training_of(method, preset or "paper") if is_data_free(method) else {}
    return known | {name: value for name, value in given.items() if value is not None}


def parse_options(pairs: list[str], without: list[str]) -> dict[str, Any]:
    """Parse NAME=VALUE and the parts to leave out; the method checks names and types.

    Raises:
        UsageError: a pair without `=`.
    """
    from index.errors import UsageError

    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--option {pair!r}: write NAME=VALUE, as temperature=4")
        options[name.strip()] = value.strip()
    return {**options, "without": sorted(set(without))} if without else options


def _plan(catalog: Catalog, options: RunOptions, teacher: Network) -> dict[str, Any]:
    from curate.manifest import get_manifest
    from curate.rounds import check_rounds
    from distill.run import make_method, run_name
    from distill.selection import read_selection

    options.train.check()
    make_method(options, teacher)
    if options.manifest is None:
        return _plan_without_images(options, teacher)
    selection = read_selection(catalog, options.manifest)
    images = len(selection.ids)
    if options.train.rounds:
        parent = get_manifest(catalog, options.manifest)
        check_rounds(parent)
        images = parent.pool
    batch = min(options.train.batch_size, len(selection.ids))
    steps = options.train.max_steps or options.train.epochs * (len(selection.ids) // batch)
    size = teacher.card.input.size
    return {
        "run": options.name or run_name(options, teacher, selection.content_hash),
        "images": len(selection.ids),
        "steps": steps,
        "rounds": options.train.rounds,
        "ram_mb_for_images": round(images * size * size * 3 / 1e6, 1),
        "device": options.train.device,
    }


def _plan_without_images(options: RunOptions, teacher: Network) -> dict[str, Any]:
    from distill.datafree.registry import STEPS_AN_EPOCH
    from distill.datafree.run import complete
    from distill.run import run_name

    options = complete(options)
    return {
        "run": options.name or run_name(options, teacher, ""),
        "steps": options.train.max_steps or options.train.epochs * STEPS_AN_EPOCH,
        "batch_size": options.train.batch_size,
        "device": options.train.device,
        **{name: value for name, value in options.method_options.items() if value},
    }
