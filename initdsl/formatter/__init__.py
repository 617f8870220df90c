"""The one canonical layout of rule files, comments kept."""

from .entries import LaidOut
from .layout import format, format_range, format_source

__all__ = ["LaidOut", "format", "format_range", "format_source"]
