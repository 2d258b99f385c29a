"""The precision of a workspace's vectors: settled by the first build of an embedder, then kept."""

from __future__ import annotations

from collections.abc import Sequence

from distill.networks.card import Card
from distill.networks.embedder import Embedder, load_embedder
from distill.networks.precision import Precision, measure_precision, named
from index.catalog import Catalog
from index.errors import UsageError
from index.models import record_precision, recorded_precision
from index.probe import first_pixels
from index.sources import SourceOptions
from index.vectors import live_count

AUTO = "auto"
_PROBE_IMAGES = 32


def check_precision(asked: str) -> None:
    """Refuse, before any work, a precision that there is not.

    Raises:
        UsageError: it is neither `auto` nor one that vectors can have.
    """
    if asked != AUTO:
        named(asked)


def settle_precision(
    catalog: Catalog,
    card: Card,
    embedder: Embedder,
    asked: str,
    source_names: Sequence[str],
    options: SourceOptions,
) -> tuple[Precision, Embedder]:
    """Return the precision that the embedder has here, and the embedder in it.

    What is not settled yet is settled now: as asked, or by measuring on the first images. To be
    called while `building`: no other build may settle it too, nor begin before this one does.

    Raises:
        UsageError: an unknown precision, or another than that of the vectors that are there.
    """
    wanted = None if asked == AUTO else named(asked)
    recorded = recorded_precision(catalog, embedder.key)
    begun = catalog.exists() and live_count(catalog, embedder.key) > 0
    if recorded is not None and (begun or wanted is None):
        if wanted and wanted.name != recorded:
            raise UsageError(
                f"the vectors of {embedder.key} in {catalog.workspace} are {recorded}: leave "
                "--precision out, or build into another workspace"
            )
        return named(recorded), _in_precision(embedder, card, named(recorded))
    if wanted is None and begun:
        wanted = named("float32")  # of a library's caller, who records none
    rough = None
    if wanted is None:
        pixels = first_pixels(source_names, options, embedder.view, _PROBE_IMAGES)
        if pixels is None:  # nothing to measure on: the next build may settle it
            return named("float32"), embedder
        rough = _in_precision(embedder, card, named("bfloat16"))
        wanted = measure_precision(embedder, rough, pixels)
    record_precision(catalog, embedder.key, wanted.name, wanted.cosine, wanted.gain)
    if rough is not None and wanted.dtype == rough.dtype:
        return wanted, rough
    return wanted, _in_precision(embedder, card, wanted)


def _in_precision(embedder: Embedder, card: Card, precision: Precision) -> Embedder:
    if precision.dtype == embedder.dtype:
        return embedder
    return load_embedder(card, device=embedder.device, dtype=precision.dtype)
