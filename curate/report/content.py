"""Everything that a report says, gathered from the catalog before anything is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from curate.measures import stored_measures
from curate.report.balance import Agreement, Balance, read_agreement, read_balance
from curate.report.distributions import Distribution, score_distribution, shift_distributions
from curate.report.embedding import draw_points
from curate.report.funnel import Crawl, Funnel, read_crawl, read_funnel
from curate.report.grids import Grid, images_of, read_grid, with_originals
from curate.report.groups import Groups, read_groups
from curate.report.ledger import Entry, Image, Sample, draw_sample, read_entries, read_images_of
from curate.report.maps import Maps, draw_maps
from curate.report.methods import MethodRow, read_methods
from curate.report.options import MOST_ROWS, ReportOptions
from curate.report.originals import Originals, find_originals
from curate.report.scope import ManifestFacts, Scope, find_scope
from curate.report.thumbnails import Thumbnails, make_thumbnails
from curate.report.training import Curve, Rounds, read_curves, read_rounds
from index import __version__
from index.catalog import Catalog
from index.decoding import View
from index.progress import Progress


@dataclass(frozen=True)
class Content:
    """What a report shows; drawn as a page by `page`, and as pictures by `figures`."""

    workspace: str
    version: str
    made: datetime
    scope: Scope
    crawl: Crawl
    funnels: list[Funnel]
    grids: list[Grid]
    samples: list[Sample]
    images: list[Image]
    entries: list[Entry]
    thumbnails: Thumbnails
    originals: Originals | None
    scores: list[Distribution]
    shifts: list[Distribution]
    measures: list[tuple[ManifestFacts, list[dict[str, Any]]]]
    balances: list[Balance]
    agreements: list[Agreement]
    maps: Maps
    groups: list[Groups]
    methods: list[MethodRow]
    curves: list[Curve]
    rounds: list[Rounds]


def gather(catalog: Catalog, options: ReportOptions, progress: Progress) -> Content:
    """Gather what a report says: aggregates of the whole ledger, samples of its images.

    Raises:
        UsageError: no such manifest or run, or none at all.
        DataError: the reference cannot be read.
        NetworkError: originals are given, and a teacher cannot be loaded to label them.
    """
    scope = find_scope(catalog, options)
    crawl = read_crawl(catalog)
    # A small view: of the originals' first reading only their places are kept.
    originals = find_originals(options.reference, View(8), options.workers, progress)
    funnels = [read_funnel(catalog, one, crawl) for one in scope.manifests]
    grids = [read_grid(catalog, one) for one in scope.manifests]
    groups = read_groups(catalog)
    most = MOST_ROWS // len(scope.manifests)
    samples = [draw_sample(catalog, one.manifest, one.reasons, most) for one in funnels]
    shown = _shown(catalog, scope, grids, groups, samples)
    thumbnails = make_thumbnails(
        catalog,
        shown,
        originals.places if originals else [],
        workers=options.workers,
        progress=progress,
    )
    maps = draw_maps(catalog, scope, set(thumbnails.drawn), originals, options, progress)
    scores = [score_distribution(catalog, one) for one in scope.manifests]
    agreements = [read_agreement(catalog, one) for one in scope.manifests]
    return Content(
        workspace=str(catalog.workspace.absolute()),
        version=__version__,
        made=datetime.now(UTC),
        scope=scope,
        crawl=crawl,
        funnels=funnels,
        grids=_labelled(grids, originals, maps),
        samples=samples,
        images=read_images_of(catalog, shown),
        entries=[
            entry for one in scope.manifests for entry in read_entries(catalog, one.name, shown)
        ],
        thumbnails=thumbnails,
        originals=originals,
        scores=[one for one in scores if one is not None],
        shifts=[d for one in scope.manifests for d in shift_distributions(catalog, one)],
        measures=[(one, stored_measures(catalog, one.name)) for one in scope.manifests],
        balances=[read_balance(catalog, one) for one in scope.manifests],
        agreements=[one for one in agreements if one is not None] + maps.agreements,
        maps=maps,
        groups=groups,
        methods=read_methods(catalog, scope.runs, options.device, progress),
        curves=read_curves(catalog, scope.runs),
        rounds=read_rounds(catalog, scope.runs),
    )


def _shown(
    catalog: Catalog,
    scope: Scope,
    grids: Sequence[Grid],
    groups: Sequence[Groups],
    samples: Sequence[Sample],
) -> list[int]:
    """The images of the report, the most important first: should thumbnails not suffice for all."""
    in_grids = [image for grid in grids for image in images_of(grid)]
    in_groups = [image for one in groups for group in one.largest for image in group.shown]
    in_maps = draw_points(catalog, scope.manifests).tolist()
    in_table = [image for sample in samples for image in sample.ids]
    return list(dict.fromkeys([*in_grids, *in_groups, *in_maps, *in_table]))


def _labelled(grids: list[Grid], originals: Originals | None, maps: Maps) -> list[Grid]:
    if originals is None:
        return grids
    ids = originals.ids.tolist()
    return [
        with_originals(grid, ids, maps.original_labels.get(grid.manifest.teacher, [-1] * len(ids)))
        for grid in grids
    ]
