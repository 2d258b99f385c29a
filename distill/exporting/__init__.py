"""A network as one file that other programs run, checked against the original on real images."""

from distill.exporting.base import FORMS, Format
from distill.exporting.export import FORMATS, Exported, check_export, export_network

__all__ = ["FORMATS", "FORMS", "Exported", "Format", "check_export", "export_network"]
