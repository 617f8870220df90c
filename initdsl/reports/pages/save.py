"""Plans and reports to files, in the form that the file's suffix names."""

from __future__ import annotations

import json
import os

from initdsl.api.report import Report
from initdsl.planning.plan import Plan
from initdsl.reports.pages import plan_page
from initdsl.text.files import write_whole

__all__ = ["html", "save", "suffix", "written"]


SUFFIXES = (".html", ".json", ".txt")


def html(made: Plan | Report) -> str:
    """The page of a plan, or of a report with what the network's tensors hold now."""
    if isinstance(made, Plan):
        return plan_page(made)
    from initdsl.reports.measure import measures

    return plan_page(made.plan, measures(made.plan), made.engine)


def save(made: Plan | Report, path: str | os.PathLike[str]) -> None:
    """Write a plan or a report as a page, as JSON or as text. Raises ValueError for another suffix, and OSError."""
    match suffix(path):
        case ".html":
            text = html(made)
        case ".json":
            text = json.dumps(made.to_dict(), indent=2) + "\n"
        case _:
            text = f"{made}\n"
    written(text, path)


def suffix(path: str | os.PathLike[str]) -> str:
    """The suffix of a file, one of those there are. Raises ValueError for another one."""
    found = os.path.splitext(os.fspath(path))[1].lower()
    if found not in SUFFIXES:
        raise ValueError(f"`{os.fspath(path)}` ends in none of {', '.join(SUFFIXES)}")
    return found


def written(text: str, path: str | os.PathLike[str]) -> None:
    """Write a text to a file, whole or not at all. Raises OSError."""
    write_whole(path, text.encode("utf-8", "backslashreplace"))
