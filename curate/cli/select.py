"""kdcurate select."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.cli.arguments import Device, DryRun, Json, Seed, Workers, Workspace, pick_device
from curate.cli.output import (
    TerminalProgress,
    next_step,
    note,
    print_json,
    print_measures,
    print_pairs,
)

if TYPE_CHECKING:
    from curate.manifest import Manifest
    from curate.options import SelectOptions


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("select")(select)


def select(
    teacher: Annotated[str, typer.Option(help="Card (.toml) or spec of the teacher.")],
    strategy: Annotated[
        str | None,
        typer.Option(
            help="kd3 (the default), msp, dfnd, max_logit, energy, entropy, margin, gen, bn_shift, "
            "bn_kl, null_space, classifier_angle, odsd_like, clip_text, random; with --student "
            "agreement, disagreement; with --reference knn, mahalanobis, rmds, vim, prototype, "
            "mmd_witness, domain, dsir, retrieve; or a plugin."
        ),
    ] = None,
    rank: Annotated[
        str | None,
        typer.Option(
            help="Instead of a strategy: arithmetic over strategies' scores, stored estimates, "
            "width, height and bytes, and numbers that came with the crawl as metadata.NAME, e.g. "
            "'0.6*kd3 - 0.3*bn_shift' or 'kd3 * metadata.similarity'."
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="N|P%|auto",
            help="Images to take: a number, a share of all images of the pool such as 10%, or "
            "auto: up to where an image's score is worth less than its shift costs. Default: all "
            "that are eligible.",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the manifest; default: strategy and hash.")
    ] = None,
    workspace: Workspace = Path("workspace"),
    student: Annotated[
        str | None,
        typer.Option(
            help="Card of a student: its agreement stands in the ledger, strategies that compare "
            "read it, and kd3 mixes it in where --alpha is below 1."
        ),
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="kd3: the teacher's share of the mixed logits (1).")
    ] = None,
    balance: Annotated[
        str | None,
        typer.Option(
            help="How classes share the budget: none, proportional to what each has, by its "
            "square root (sqrt), or full, the same for all. kd3: proportional, else none."
        ),
    ] = None,
    diversity: Annotated[
        str | None,
        typer.Option(
            help="Within a class, of the best 4 times its quota take images unlike each other, by "
            "the index's vectors: kcenter, facility, clusters; default: none, the best scores."
        ),
    ] = None,
    per_class: Annotated[int | None, typer.Option(help="Most images of one class.")] = None,
    near_duplicates: Annotated[
        float | None,
        typer.Option(
            help="Keep one of each group whose embeddings' cosine is at least this, e.g. 0.999. "
            "Off unless given."
        ),
    ] = None,
    perceptual: Annotated[
        int | None,
        typer.Option(
            help="Keep one of each group whose difference hashes differ in so many bits, e.g. 4; "
            "with --near-duplicates, of each group by either. Off unless given."
        ),
    ] = None,
    reverse: Annotated[
        bool, typer.Option("--reverse", help="Worst first: a negative control.")
    ] = False,
    min_size: Annotated[
        int | None,
        typer.Option(help="Rule out images whose shorter side has fewer pixels, e.g. 16."),
    ] = None,
    max_aspect: Annotated[
        float | None,
        typer.Option(
            help="Rule out images whose longer side exceeds this many shorter sides, e.g. 3."
        ),
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option(help="Rule out images of more pixels, e.g. 4000000.")
    ] = None,
    max_copies: Annotated[
        int | None,
        typer.Option(
            help="Rule out one content at more places, e.g. 9: a server's 'image unavailable'. "
            "The view placeholders lists them. Default: none, for a set may repeat on purpose."
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="PREDICATE",
            help="Rule out images for which this SQL expression is not true, over the columns of "
            'the table images and the metadata and uri of the first place: "width >= 64 AND '
            "metadata->>'licence' = 'cc0'\". Nothing else in a selection reads "
            "metadata, but --rank the numbers that it names.",
        ),
    ] = None,
    where_timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="Give up, before anything is scored, where --where takes longer over all images.",
        ),
    ] = 30,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE",
            help="Images like those that the teacher was trained on, from any source that "
            "build-index reads; may be given more than once. Strategies that need a "
            "reference measure by them; they never enter the pool, and no labels are needed.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Of the loss of each image in training: none (all 1), or domain: with "
            "--reference, how much likelier it is there than in the pool, clipped to 0.1 to 10, "
            "and 1 on average."
        ),
    ] = None,
    logits: Annotated[
        str | None,
        typer.Option(
            help="What is kept of the logits: full (the default), top32 (140 bytes an image), or "
            "none; --dry-run says which strategies each allows. top32 is for more than 32 classes. "
            "The first pass of a network settles it."
        ),
    ] = None,
    seed: Seed = 0,
    workers: Workers = None,
    device: Device = "auto",
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Score the pool, decide every image, and write a manifest.

    Example: kdcurate select -w WS --teacher teacher.toml --strategy kd3 --budget 8000 --name first
    """
    from curate.cli.select_plan import plan_selection
    from curate.manifest import check_name
    from curate.measures import stored_measures
    from curate.networks import scored_pool
    from curate.query import check_timeout
    from curate.selection import select as decide
    from curate.setshift import update_set_shift
    from distill.networks import load_network
    from index.catalog import Catalog
    from index.duplicates import first_embedder
    from index.sources import check

    options = select_options(
        strategy=strategy,
        rank=rank,
        budget=budget,
        balance=balance,
        diversity=diversity,
        per_class=per_class,
        alpha=alpha,
        seed=seed,
        near_duplicates=near_duplicates,
        perceptual=perceptual,
        reverse=reverse,
        min_size=min_size,
        max_aspect=max_aspect,
        max_pixels=max_pixels,
        max_copies=max_copies,
        where=where,
        weights=weights,
    )
    check_timeout(where_timeout, "--where-timeout")
    check_name(name)
    check(reference or ())
    catalog = Catalog(workspace)
    options.check_given(  # now, not after the networks have scored the pool
        student=student is not None,
        reference=bool(reference),
        index=first_embedder(catalog) is not None,
    )
    matching = options.check_crawl(catalog, where_timeout)
    if dry_run:
        plan = plan_selection(catalog, teacher, student, logits) | {"options": options.as_json()}
        if reference:
            plan["reference"] = ", ".join(reference)
        if matching is not None:
            plan["images_that_match_where"] = matching
        (print_json if json else print_pairs)(plan)
        return
    progress = TerminalProgress()
    pool = scored_pool(
        catalog,
        teacher,
        student,
        needs=options.signals,
        reference=reference or (),
        device=pick_device(device),
        workers=workers,
        logits=logits,
        progress=progress,
    )
    manifest = decide(pool, name, options, progress=progress)
    left_out = update_set_shift(
        pool,
        manifest,
        load_network(teacher),
        device=pick_device(device),
        workers=workers,
        progress=progress,
    )
    if isinstance(options.budget, int) and options.budget > manifest.eligible:
        note(
            f"--budget {options.budget:,} is more than the {manifest.eligible:,} eligible images: "
            f"{'all are taken' if manifest.selected == manifest.eligible else 'it is not used up'}"
        )
    measures = stored_measures(catalog, manifest.name)
    if json:
        print_json(summary(manifest) | {"shift": measures, "shift_left_out": left_out})
        return
    print_pairs(summary(manifest))
    print_measures(measures)
    for measure, reason in left_out.items():
        note(f"no {measure}: {reason}")
    command = ("distill", "-w", str(workspace), "--manifest", manifest.name, "--teacher", teacher)
    next_step(*command, "--student", "cifar:resnet8")


def select_options(
    *, strategy: str | None, rank: str | None, budget: str | None, **rules: Any
) -> SelectOptions:
    """Return what parameters of `select` ask for, checked without a pool.

    Args:
        rules: what SelectOptions takes as it is.

    Raises:
        UsageError: a value that makes no sense; the message names the option.
    """
    from curate.budget import parse_budget
    from curate.options import SelectOptions
    from index.errors import UsageError

    if strategy is not None and rank is not None:
        raise UsageError("--strategy and --rank exclude each other: a rank can name strategies")
    options = SelectOptions(
        strategy=strategy or ("kd3" if rank is None else "rank"),
        rank=rank,
        budget=None if budget is None else parse_budget(budget),
        **rules,
    )
    options.check()
    return options


def summary(manifest: Manifest) -> dict[str, Any]:
    """What `select` reports of a manifest."""
    names = ("strategy", "teacher", "student", "pool", "eligible", "selected", "content_hash")
    facts = {"manifest": manifest.name} | {name: getattr(manifest, name) for name in names}
    if "budget_note" in manifest.options:
        facts["budget"] = manifest.options["budget_note"]
    return facts
