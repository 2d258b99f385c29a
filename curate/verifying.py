"""Whether a manifest is what its scores and options make of the pool, and its images are there."""

from __future__ import annotations

from dataclasses import dataclass, field

from curate.fitted import BY_POOL
from curate.importing import IMPORTED
from curate.manifest import Manifest, content_hash, get_manifest, ranked
from curate.options import SelectOptions
from curate.pool import Pool
from curate.rederived import count_differences
from curate.selection import decide
from curate.tables import one_row
from index.catalog import Catalog, literal
from index.contents import damaged_contents
from index.errors import KdcurateError
from index.files import scratch
from index.parts import list_parts
from index.progress import Progress, Silent

_NAMED = 20


@dataclass
class Verified:
    """What was found of a manifest.

    `problems` are lines for a person, `differences` counts the images whose decision is derived
    otherwise, by what differs, and `not_derived` says why nothing was derived. `new_images` are in
    the pool, but came after the manifest: they do not count as a difference. Of the
    missing or changed files the first 20 stand in `damaged`; `progress` is told of every one.
    """

    manifest: str
    content_hash: str
    images: int
    new_images: int = 0
    gone_images: int = 0
    derived_hash: str | None = None
    not_derived: str | None = None
    differences: dict[str, int] = field(default_factory=dict)
    files_read: int | None = None
    files_damaged: int | None = None
    damaged: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Tell whether nothing is wrong."""
        return not self.problems


def verify_manifest(
    catalog: Catalog,
    name: str,
    *,
    files: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Verified:
    """Check a manifest's ledger against its hash, derive it again, and read its images if asked.

    It is derived from the stored scores, with the stored options, over the images that it decided;
    groups of near-duplicates are looked for anew, among all images there are.

    Raises:
        UsageError: no manifest has this name.
    """
    progress = progress or Silent()
    manifest = get_manifest(catalog, name)
    found = Verified(name, manifest.content_hash, manifest.selected)
    _check_ledger(catalog, manifest, found)
    _check_pool(catalog, manifest, found)
    found.not_derived = _underivable(catalog, manifest, found)
    if found.not_derived is None:
        _derive(catalog, manifest, found, progress)
    if files:
        _check_files(catalog, manifest, found, workers, progress)
    return found


def pool_changes(catalog: Catalog, name: str) -> dict[str, int]:
    """Count the images that are `new` since a manifest decided, and those that are `gone`.

    `gone_selected` are those of the latter that it selected.
    """
    with catalog.read() as connection:
        counts: dict[str, int] = one_row(connection, _POOL, [name, name])
    return counts


def _check_ledger(catalog: Catalog, manifest: Manifest, found: Verified) -> None:
    """The stored decisions are those that the hash covers, each image once."""
    own = f"(FROM decisions WHERE manifest = {literal(manifest.name)})"
    with catalog.read() as connection:
        counts = one_row(connection, _LEDGER.format(decisions=own))
        stored = content_hash(ranked(connection, own, manifest.selected))
    if stored != manifest.content_hash:
        found.problems.append(
            f"the stored decisions have the hash {stored[:8]}, the manifest "
            f"{manifest.content_hash[:8]}: restore {catalog.path} from a copy"
        )
    expected = {"pool": manifest.pool, "ids": manifest.pool, "selected": manifest.selected}
    for what, count in expected.items():
        if counts[what] != count:
            found.problems.append(
                f"the ledger has {counts[what]:,} rows ({what}), the manifest says {count:,}: "
                f"restore {catalog.path} from a copy"
            )


def _check_pool(catalog: Catalog, manifest: Manifest, found: Verified) -> None:
    counts = pool_changes(catalog, manifest.name)
    found.new_images, found.gone_images = counts["new"], counts["gone"]
    if found.gone_images:
        found.problems.append(
            f"{found.gone_images:,} images that it decided are no longer in the sources, "
            f"{counts['gone_selected']:,} of them selected: put them back and run build-index, "
            "or select again"
        )


def _underivable(catalog: Catalog, manifest: Manifest, found: Verified) -> str | None:
    if manifest.strategy == IMPORTED:
        return "it was imported: its list is all that decides; the ledger is checked"
    with catalog.read() as connection:
        teacher = list_parts(connection, f"logits/{manifest.teacher}")
        student = manifest.student and list_parts(connection, f"logits/{manifest.student}")
    if manifest.student is not None and not student and "@" in manifest.student:
        return f"{manifest.student} was a student in training, whose scores are not stored"
    for role, model, parts in (
        ("teacher", manifest.teacher, teacher),
        ("student", manifest.student, student),
    ):
        if model is not None and not parts:
            reason = f"{role} {model} has no stored scores: select with its card scores the pool"
            found.problems.append(reason)
            return reason
    if found.gone_images:
        return "images that it decided are gone"
    fitted = sorted(SelectOptions.of(manifest).signals & BY_POOL)
    if found.new_images and fitted:
        return f"images came since: {', '.join(fitted)} would be fitted to a pool with them"
    return None


def _derive(catalog: Catalog, manifest: Manifest, found: Verified, progress: Progress) -> None:
    try:
        with scratch(catalog.workspace, "verify") as folder:
            pool, options = _pool(catalog, manifest), SelectOptions.of(manifest)
            derived, decisions = decide(pool, manifest.name, options, folder, None, progress)
            stored = folder / "stored.parquet"
            query = f"SELECT * FROM decisions WHERE manifest = {literal(manifest.name)}"
            catalog.write_parquet(query, stored)
            found.derived_hash = derived.content_hash
            has_grown = found.new_images > 0
            found.differences = count_differences(stored, decisions, has_grown=has_grown)
    except KdcurateError as error:
        found.not_derived = str(error)
        found.problems.append(f"it cannot be derived again: {error}")
        return
    if found.derived_hash == found.content_hash and not found.differences:
        return
    counts = ", ".join(f"{what} of {count:,}" for what, count in found.differences.items())
    since = f"; {found.new_images:,} images came since" if found.new_images else ""
    found.problems.append(
        f"derived again it decides differently ({found.derived_hash[:8]}): {counts}{since}; "
        f"made with kdcurate {manifest.code_version}"
    )


def _pool(catalog: Catalog, manifest: Manifest) -> Pool:
    with catalog.read() as connection:
        (first, *_) = list_parts(connection, f"logits/{manifest.teacher}")
    return Pool(
        catalog=catalog,
        teacher=manifest.teacher,
        classes=first.width,
        preprocessing=manifest.preprocessing,
        student=manifest.student,
        embedder=manifest.embedder,
        decided_by=manifest.name,
        reference=manifest.options.get("reference"),
    )


def _check_files(
    catalog: Catalog,
    manifest: Manifest,
    found: Verified,
    workers: int | None,
    progress: Progress,
) -> None:
    found.files_read = found.files_damaged = 0
    only = f"SELECT image_id FROM decisions WHERE manifest = {literal(manifest.name)} AND selected"
    named: list[str] = []
    with progress.step("Verifying", manifest.selected, "images") as advance:
        for read, damaged in damaged_contents(catalog, only, workers=workers):
            found.files_read += read
            found.files_damaged += len(damaged)
            named += damaged[: _NAMED - len(named)]
            for line in damaged:
                progress.say(line)
            advance(read)
    found.damaged = named
    if found.files_damaged:
        found.problems.append(
            f"{found.files_damaged:,} of {found.files_read:,} files are missing or changed"
        )


_LEDGER = """
SELECT count(*) AS pool, count(DISTINCT image_id) AS ids, count(*) FILTER (selected) AS selected
FROM {decisions}
"""
_POOL = """
SELECT (SELECT count(*) FROM images i ANTI JOIN
        (FROM decisions WHERE manifest = ?) d ON d.image_id = i.id) AS new,
       count(*) AS gone, count(*) FILTER (d.selected) AS gone_selected
FROM decisions d ANTI JOIN images i ON i.id = d.image_id WHERE d.manifest = ?
"""
