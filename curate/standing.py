"""What a selection reads of the catalog that no score changes: once for it, or for all rounds."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from curate.budget import AUTO, cost_of
from curate.modes import stored_mode
from curate.options import SelectOptions
from curate.pool import Known, Pool
from curate.shift import stored_estimates
from index.catalog import literal
from index.duplicates import Groups, find_by_embedding, find_by_hash, merge_groups
from index.progress import Progress


class Standing:
    """The facts behind the selections of one pool, under options that differ in alpha at most.

    Each is read when it is first asked for, and kept; what is large lies in a file.
    """

    def __init__(
        self, pool: Pool, options: SelectOptions, folder: Path, progress: Progress
    ) -> None:
        """Name them; `folder` must outlive all that is asked."""
        self._pool = pool
        self._options = options
        self._folder = folder
        self._progress = progress

    @cached_property
    def modes(self) -> dict[str, str]:
        """How the logits of teacher and student are kept, by model; see `curate.compact`."""
        stored = self._pool.student if self._pool.student_logits is None else None
        models = [self._pool.teacher, *([stored] if stored else [])]
        return {model: stored_mode(self._pool.catalog, model) or "full" for model in models}

    @cached_property
    def known(self) -> Known:
        """What the catalog knows of every image."""
        return self._pool.known(self._options.signals, self._folder)

    @cached_property
    def cost(self) -> str | None:
        """The estimate that a budget which is worked out weighs scores against.

        Raises:
            UsageError: the teacher has none.
        """
        if self._options.budget != AUTO:
            return None
        stored = stored_estimates(self._pool.catalog, self._pool.teacher)
        return cost_of(AUTO, self._pool.teacher, stored)

    @cached_property
    def filtered(self) -> Path | None:
        """File of the images that filters rule out, and why."""
        if not self._options.filters.any:
            return None
        path = self._folder / "filtered.parquet"
        self._options.filters.write_parquet(self._pool.catalog, path)
        return path

    @cached_property
    def groups(self) -> Groups:
        """The groups of which one image stays: the union of both relations."""
        pool, options, found = self._pool, self._options, []
        if options.near_duplicates is not None and pool.embedder is not None:
            cosine = options.near_duplicates
            found.append(find_by_embedding(pool.catalog, pool.embedder, cosine, self._progress))
        if options.perceptual is not None:
            found.append(find_by_hash(pool.catalog, options.perceptual, self._progress))
        return merge_groups(*found)

    @cached_property
    def decided(self) -> Path | None:
        """File of the images that another manifest decided, where no other is of this pool."""
        if self._pool.decided_by is None:
            return None
        path = self._folder / "decided.parquet"
        manifest = literal(self._pool.decided_by)
        query = f"SELECT image_id FROM decisions WHERE manifest = {manifest}"
        self._pool.catalog.write_parquet(query, path)
        return path
