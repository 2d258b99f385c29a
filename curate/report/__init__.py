"""The report: one self-contained HTML file that shows what was taken and left, and why."""

from curate.report.make import make_report
from curate.report.options import ReportOptions

__all__ = ["ReportOptions", "make_report"]
