"""The catalog: one DuckDB file with every fact about every image, model, manifest, and run."""

from index.catalog.catalog import MEMORY_LIMIT, Catalog
from index.catalog.rows import Columns, insert, one
from index.quoting import identifier, literal

__all__ = ["MEMORY_LIMIT", "Catalog", "Columns", "identifier", "insert", "literal", "one"]
