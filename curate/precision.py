"""The precision of a workspace's vectors: settled by the first build of an embedder, then kept."""

from __future__ import annotations

from collections.abc import Sequence

from distill.networks.card import Card
from distill.networks.embedder import Embedder
from distill.networks.precision import Precision, measure_precision, named
from index.catalog import Catalog
from index.errors import UsageError
from index.models import record_precision, recorded_precision
from index.probe import first_pixels
from index.sources import SourceOptions
from index.vectors import live_count

AUTO = "auto"
_PROBE_IMAGES = 32


def settle_precision(
    catalog: Catalog,
    card: Card,
    embedder: Embedder,
    asked: str,
    source_names: Sequence[str],
    options: SourceOptions,
) -> Precision:
    """Return the precision that the embedder has here, or settle it: as asked, or by measuring.

    Raises:
        UsageError: an unknown precision, or another than that of the vectors that are there.
    """
    wanted = None if asked == AUTO else named(asked)
    recorded = recorded_precision(catalog, embedder.key)
    if recorded is not None:
        if wanted and wanted.name != recorded:
            raise UsageError(
                f"the vectors of {embedder.key} in {catalog.workspace} are {recorded}: leave "
                "--precision out, or build into another workspace"
            )
        return named(recorded)
    if wanted is None and catalog.exists() and live_count(catalog, embedder.key):
        wanted = named("float32")  # of a library's caller, who records none
    if wanted is None:
        pixels = first_pixels(source_names, options, embedder.view, _PROBE_IMAGES)
        if pixels is None:  # nothing to measure on: the next build may settle it
            return Precision("float32")
        wanted = measure_precision(card, pixels, embedder.device)
    record_precision(catalog, embedder.key, wanted.name, wanted.cosine, wanted.gain)
    return wanted
