"""What can be shown, written to a file in the form that the file's suffix names."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from initdsl.text.files import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["save", "suffix_of"]


TEXTS = (".html", ".json", ".txt")


# what matplotlib writes
PLOTS = (".png", ".svg", ".pdf")


def save(
    path: str | os.PathLike[str],
    *,
    html: Callable[[], str],
    data: Callable[[], Mapping[str, Any]],
    text: Callable[[], str],
    plots: Callable[[], Figure] | None = None,
) -> None:
    """Write a page (`.html`), values (`.json`), text (`.txt`) or plots, whichever the suffix asks for; only that is made.

    Raises ValueError for another suffix, OSError where the file can't be written; then what was there before still is.
    """
    match suffix_of(path, plots=plots is not None):
        case ".html":
            _write(path, html())
        case ".json":
            _write(path, json.dumps(data(), indent=2) + "\n")
        case ".txt":
            _write(path, f"{text()}\n")
        case _ if plots is not None:
            plots().savefig(path)


def suffix_of(path: str | os.PathLike[str], plots: bool = False) -> str:
    """Return a file's suffix, one of those that can be written. Raises ValueError for another one."""
    allowed = TEXTS + PLOTS if plots else TEXTS
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    if suffix not in allowed:
        raise ValueError(f"`{os.fspath(path)}` ends in none of {', '.join(allowed)}")
    return suffix


def _write(path: str | os.PathLike[str], text: str) -> None:
    write_whole(path, text.encode("utf-8", "backslashreplace"))
