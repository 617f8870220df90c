"""The one canonical layout of rule files, comments kept."""

from .layout import LaidOut, format, format_range, format_source

__all__ = ["LaidOut", "format", "format_range", "format_source"]
