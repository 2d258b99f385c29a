"""kdcurate distill."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.cli.arguments import Device, DryRun, Json, Seed, Workers, Workspace, pick_device
from curate.cli.output import TerminalProgress, next_step, print_json, print_pairs

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

ALPHA_FLOOR_HELP = (
    "With --rounds: the teacher's share of the logits that they select by never falls below; 0 as "
    "published. With a --budget 0.5 makes better students."
)

REFRESH_HELP = (
    "With --rounds: lazy takes what the student said in training, and asks it about some images; "
    "full asks it about all, each round."
)

CACHE_BUDGET_HELP = (
    "GiB of decoded images in memory; more lie in a file. Not for methods without images."
)


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("distill")(distill)


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
    refresh: Annotated[str, typer.Option(help=REFRESH_HELP)] = "lazy",
    alpha_floor: Annotated[float, typer.Option(help=ALPHA_FLOOR_HELP)] = 0.0,
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
        typer.Option("--eval", help="Labelled data, as `evaluate --data`: accuracy at the end."),
    ] = None,
    run: Annotated[
        str | None, typer.Option(help="Name of the run; default: from its options.")
    ] = None,
    workspace: Workspace = Path("workspace"),
    seed: Seed = 0,
    device: Device = "auto",
    precision: Annotated[
        str, typer.Option(help="auto (bfloat16 where the machine has it), float32, bfloat16.")
    ] = "auto",
    accumulate: Annotated[
        int, typer.Option(help="Parts that a batch is computed in, one after the other.")
    ] = 1,
    clip_norm: Annotated[float | None, typer.Option(help="Largest norm of the gradient.")] = None,
    ema: Annotated[
        float | None,
        typer.Option(metavar="DECAY", help="Deploy a moving average of the student, as 0.999."),
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Epochs without more agreement with the teacher to stop at.")
    ] = None,
    hold_back: Annotated[
        str | None,
        typer.Option(help="Share of the manifest that --patience asks about; default: 5%."),
    ] = None,
    compile: Annotated[bool, typer.Option("--compile", help="Use torch.compile.")] = False,
    sync_batchnorm: Annotated[
        bool, typer.Option("--sync-batchnorm", help="BatchNorm over all GPUs, under torchrun.")
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write curves to runs/RUN/tensorboard too.")
    ] = False,
    checkpoint_every: Annotated[
        int, typer.Option(help="Steps between checkpoints; of slow steps about one a minute.")
    ] = 200,
    cache_budget: Annotated[float, typer.Option(help=CACHE_BUDGET_HELP)] = 4.0,
    workers: Workers = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Train a student on a manifest, or without any images; interrupted, run it again to go on.

    Example: kdcurate distill -w WS --manifest first --teacher teacher.toml --student cifar:resnet8
    """
    from curate.cli.train_options import run_options
    from curate.rounds import prepare_rounds
    from curate.synthetic import catalogue_images
    from distill.checks import check_evaluated, check_run
    from distill.networks import load_network
    from distill.processes import join
    from distill.run import distill as train
    from index.catalog import Catalog
    from index.progress import Silent

    place = pick_device(device)
    processes = join(place, precision)
    options = run_options(
        manifest=manifest,
        teacher=teacher,
        student=student,
        method=method,
        preset=preset,
        keep_images=keep_images,
        epochs=epochs,
        max_steps=max_steps,
        rounds=rounds,
        refresh=refresh,
        alpha_floor=alpha_floor,
        batch_size=batch_size,
        lr=lr,
        schedule=schedule,
        augment=augment,
        option=option,
        without=without,
        evaluate_on=evaluate_on,
        run=run,
        seed=seed,
        device=place,
        precision=precision,
        accumulate=accumulate,
        clip_norm=clip_norm,
        ema=ema,
        patience=patience,
        hold_back=hold_back,
        compile=compile,
        sync_batchnorm=sync_batchnorm,
        tensorboard=tensorboard,
        processes=processes.count,
        checkpoint_every=checkpoint_every,
        cache_budget=cache_budget,
        workers=workers,
    )
    catalog = Catalog(workspace)
    network = load_network(teacher)
    if dry_run:
        if processes.first:
            (print_json if json else _print_plan)(_plan(catalog, options, network))
        return
    progress = TerminalProgress() if processes.first else Silent()
    check_run(options)  # not after hours of scoring
    make_reselect = None
    if rounds and processes.first:
        check_evaluated(evaluate_on, network.card, network.num_classes)
        make_reselect = prepare_rounds(catalog, options, network, progress)
    result = train(
        catalog,
        options,
        teacher=network,
        make_reselect=make_reselect,
        progress=progress,
        processes=processes,
    )
    if not processes.first:
        return
    if keep_images and result.images:
        images = Path(result.images)
        catalogue_images(catalog, images, network, device=place, workers=workers, progress=progress)
    (print_json if json else print_pairs)(asdict(result) if json else result.told())
    if not json:
        next_step("evaluate", str(result.student), "--data", "LABELLED")


def _plan(catalog: Catalog, options: RunOptions, teacher: Network) -> dict[str, Any]:
    from curate.manifest import get_manifest
    from curate.rounds import check_rounds
    from distill.checks import check_evaluated, check_run
    from distill.run import make_method, run_name
    from distill.selection import read_selection

    check_run(options)
    check_evaluated(options.evaluate_on, teacher.card, teacher.num_classes, fetch=False)
    method = make_method(options, teacher)
    if options.manifest is None:
        return _plan_without_images(options, teacher)
    selection = read_selection(catalog, options.manifest)
    images = len(selection.ids)
    if options.train.rounds:
        parent = get_manifest(catalog, options.manifest)
        check_rounds(parent)
        images = parent.pool
    trained = len(selection.ids) - options.train.held_of(len(selection.ids))
    method.check_part(options.train.batch_of(trained) // options.train.parts)
    size = teacher.card.input.size
    in_file = (
        options.train.processes > 1 or images * size * size * 3 > options.cache_budget_gib * 2**30
    )
    return {
        "run": options.name or run_name(options, teacher, selection.content_hash),
        "images": len(selection.ids),
        "held_back": len(selection.ids) - trained,
        "steps": options.train.steps_of(trained),
        "rounds": options.train.rounds,
        "mb_of_images": round(images * size * size * 3 / 1e6, 1),
        "images_in": "a file of the workspace" if in_file else "memory",
        "device": options.train.device,
        "processes": options.train.processes,
    }


def _plan_without_images(options: RunOptions, teacher: Network) -> dict[str, Any]:
    from distill.datafree.run import complete, recipe_of
    from distill.datafree.trainer import total_steps
    from distill.run import run_name

    options = complete(options)
    steps = total_steps(options.train)
    return {
        "run": options.name or run_name(options, teacher, ""),
        "steps": steps,
        **recipe_of(options).planned(steps),
        "keep_images": options.keep_images,
        "batch_size": options.train.batch_size,
        "device": options.train.device,
        "options": options.method_options,
    }


def _print_plan(plan: dict[str, Any]) -> None:
    """Print names and values, each option of the method on a line of its own."""
    own = {f"option {name}": value for name, value in plan.pop("options", {}).items()}
    print_pairs({**plan, **own})
