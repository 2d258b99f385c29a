"""Methods and strategies side by side: a grid of trainings, and the table that they make."""

from curate.comparing.compare import compare, plan
from curate.comparing.grid import Grid, Row
from curate.comparing.table import COLUMNS, Line, markdown

__all__ = ["COLUMNS", "Grid", "Line", "Row", "compare", "markdown", "plan"]
