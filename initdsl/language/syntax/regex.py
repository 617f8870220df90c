"""Regular expressions, matched in linear time."""

from __future__ import annotations

from typing import Any


def linear_regex(pattern: str) -> Any:
    """A regular expression in RE2, which takes linear time. Raises ValueError, with RE2's reason, for what it refuses."""
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 23
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "it is not understood"
        raise ValueError(reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)) from None
