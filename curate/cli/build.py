"""kdcurate build-index."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curate.cli.arguments import Device, DryRun, Json, Workers, Workspace, pick_device
from curate.cli.output import TerminalProgress, next_step, note, print_json, print_pairs

if TYPE_CHECKING:
    from distill.networks.precision import Precision
    from index.catalog import Catalog
    from index.choice import IndexSettings
    from index.sources import SourceOptions


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("build-index")(build_index)


def build_index(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Folder, image, *.parquet (image column), *.tar, a list of paths (*.csv, *.tsv, "
            "*.jsonl, *.txt, *.parquet), or a quoted glob; also as a URL: s3://, https://, ..."
        ),
    ],
    workspace: Workspace = Path("workspace"),
    embedder: Annotated[
        str | None,
        typer.Option(
            help="Card (.toml) or spec whose penultimate features are the vectors: any teacher, "
            "torchvision:NAME?pretrained=true, timm:NAME?pretrained=true, open_clip:MODEL/TAG-or-"
            "file. Default: the one that the workspace already has."
        ),
    ] = None,
    image_column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Column of Parquet files that holds the images, or of lists that holds the paths.",
        ),
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Only these formats, e.g. jpeg,png; of jpeg, png, webp, gif, bmp, tiff, avif.",
        ),
    ] = None,
    index: Annotated[
        str | None,
        typer.Option(
            help="auto, or any faiss.index_factory string, such as HNSW32 or 'IVF4096,SQ8'. auto "
            "takes the most faithful that fits the budget: Flat, HNSW, IVF-SQ8, OPQ-PQ. Default: "
            "as in the last build, at first auto."
        ),
    ] = None,
    memory_budget: Annotated[
        str | None,
        typer.Option(
            help="Memory that the opened index may take, such as 4GB or 512MB. Default: as in the "
            "last build, at first 4GB."
        ),
    ] = None,
    recall: Annotated[
        float | None,
        typer.Option(
            help="Recall@10 that an approximate index should reach: it searches as far as that "
            "takes, and more is slower. Default: as in the last build, at first 0.95."
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Seed of what an index is trained and measured on. Default: as in the last build, "
            "at first 0."
        ),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="float32, bfloat16, or auto: bfloat16 where it is faster here and every vector "
            "keeps a cosine above 0.999 to its float32 twin, as measured on the first images. "
            "Settled by the first build."
        ),
    ] = "auto",
    workers: Workers = None,
    device: Device = "auto",
    engine: Annotated[
        str,
        typer.Option(
            help="local: this machine. ray: all nodes of a Ray cluster, which share the workspace "
            "and the sources; the one of RAY_ADDRESS, or that runs here; --workers decoders and as "
            "many embedders."
        ),
    ] = "local",
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Decode and embed a crawl, index it with FAISS, catalogue it in DuckDB.

    Run again after an interruption or with more sources: what is done stays done.
    A list's paths are relative to the list; its other columns become metadata, as do the .json,
    .txt and .parquet of img2dataset shards. The index is rebuilt when its kind no longer suits;
    recall_at_10 and query_ms are measured whenever the index changed.

    Example: kdcurate build-index crawl/ 'shards/*.tar' -w WS --embedder teacher.toml
    --memory-budget 2GB
    """
    from functools import partial

    from curate.cli.build_failures import tell_failures
    from curate.cli.build_plan import plan_build
    from curate.precision import check_precision, settle_precision
    from distill.networks import load_embedder, register
    from distill.networks.card import resolve
    from index.build import build_index as build
    from index.build import building
    from index.catalog import Catalog
    from index.engines import check_engine, make_engine
    from index.errors import NothingSelectedError
    from index.listing import list_sources
    from index.neighbours import choose_index
    from index.sources import check

    options = source_options(image_column, formats)
    check(sources, options)
    given = index_options(index, memory_budget, seed, recall)
    catalog = Catalog(workspace)
    card = resolve(_as_source(embedder or known_embedder(catalog)))
    check_engine(engine)
    check_precision(precision)
    # Elsewhere, the device is another machine's; here, the network only tells its key and view.
    network = load_embedder(card, device=pick_device(device) if engine == "local" else "cpu")
    settings = given.settings(catalog, network.key)
    settings.check()
    choose_index(0, network.dim, settings)  # a mistyped --index is refused before any work
    if dry_run:
        with TemporaryDirectory(prefix="kdcurate-") as folder:
            todo = list_sources(catalog, sources, network.key, Path(folder), options)
            plan = plan_build(catalog, todo, network, options, settings)
        (print_json if json else print_pairs)(plan)
        return
    with building(workspace):
        settled, network = settle_precision(catalog, card, network, precision, sources, options)
        works = make_engine(engine, partial(load_embedder, card, dtype=settled.dtype), device)
        note(f"embedding with {network.key} in {_explained(settled)} into {workspace}")
        register(catalog, network.key, card)
        built = build(
            workspace,
            sources,
            network,
            options=options,
            workers=workers,
            progress=TerminalProgress(),
            settings=settings,
            engine=works,
            lock_held=True,
        )
    (print_json if json else print_pairs)(asdict(built))
    if built.failed:
        tell_failures(catalog, built)
    if not built.images:
        raise NothingSelectedError(
            f"no image could be read, and {workspace} has none: mend or replace the files, then "
            "run the same command again"
        )
    if not json:
        teacher = embedder if embedder and embedder.endswith(".toml") else "TEACHER.toml"
        command = ("select", "-w", str(workspace), "--teacher", teacher)
        next_step(*command, "--strategy", "kd3", "--budget", "10%")


def _explained(precision: Precision) -> str:
    if precision.cosine is None:
        return precision.name
    return (
        f"{precision.name} (bfloat16 is {precision.gain:g} times as fast as float32 here, least "
        f"cosine {precision.cosine:.5f})"
    )


def source_options(image_column: str | None, formats: str | None) -> SourceOptions:
    """Return how sources are read.

    Raises:
        UsageError: a format that there is not.
    """
    from index.decoding import FORMATS
    from index.errors import UsageError
    from index.sources import SourceOptions

    if formats is None:
        return SourceOptions(image_column)
    aliases = {"JPG": "JPEG", "TIF": "TIFF"}
    named = [name.strip().upper() for name in formats.split(",")]
    wanted = {aliases.get(name, name) for name in named}
    if unknown := wanted - set(FORMATS):
        names = ", ".join(sorted(name.lower() or "nothing" for name in unknown))
        known = ", ".join(FORMATS).lower()
        raise UsageError(f"--formats names {names}: choose among {known}")
    return SourceOptions(image_column, tuple(name for name in FORMATS if name in wanted))


@dataclass(frozen=True)
class IndexOptions:
    """What was typed about the index; what was not is as in the last build."""

    index: str | None
    memory_budget: int | None
    seed: int | None
    recall: float | None

    def settings(self, catalog: Catalog, embedder: str) -> IndexSettings:
        """Complete with the last build's."""
        from index.neighbours import index_facts

        recorded = index_facts(catalog, embedder) if catalog.exists() else None
        return self.beside(recorded.settings if recorded else None)

    def beside(self, last: IndexSettings | None) -> IndexSettings:
        """Complete with those of a last build, or where there was none with the defaults."""
        from index.choice import IndexSettings

        last = last or IndexSettings()
        return IndexSettings(
            last.index if self.index is None else self.index.strip(),
            self.memory_budget or last.memory_budget,
            last.seed if self.seed is None else self.seed,
            last.recall if self.recall is None else self.recall,
        )


def index_options(
    index: str | None, memory_budget: str | None, seed: int | None, recall: float | None
) -> IndexOptions:
    """Read what was typed about the index.

    Raises:
        UsageError: a budget that is no size.
    """
    from index.choice import parse_size

    return IndexOptions(index, parse_size(memory_budget) if memory_budget else None, seed, recall)


def known_embedder(catalog: Catalog) -> str:
    """Return the card of the only embedder that the workspace has.

    Raises:
        UsageError: it has none yet, or several.
    """
    from index.errors import UsageError

    found: list[tuple[str, str]] = []
    if catalog.exists():
        with catalog.read() as connection:
            found = connection.execute(
                "SELECT key, card FROM models WHERE key IN (SELECT embedder FROM partitions)"
            ).fetchall()
    if len(found) == 1:
        return found[0][1]
    if not found:
        raise UsageError("the first build needs --embedder CARD-or-SPEC, for example a teacher")
    names = ", ".join(key for key, _ in found)
    raise UsageError(f"this workspace has several embedders ({names}): name one with --embedder")


def _as_source(card: str) -> Any:
    """A stored card is JSON; what a user types is a path or a spec."""
    from distill.networks import Card

    return Card.model_validate_json(card) if card.startswith("{") else card
