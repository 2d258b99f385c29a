"""The catalog: one DuckDB file with every fact about every image, model, manifest, and run."""

from index.catalog.catalog import Catalog
from index.catalog.rows import Columns, insert, one

__all__ = ["Catalog", "Columns", "insert", "one"]
