"""The catalog: one DuckDB file with every fact about every image, model, manifest, and run."""

from index.catalog.catalog import Catalog
from index.catalog.rows import Columns, insert, literal, one

__all__ = ["Catalog", "Columns", "insert", "literal", "one"]
