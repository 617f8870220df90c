"""Where a file really lies, its links followed: a folder may be a stranger's, and its links lead anywhere."""

from __future__ import annotations

import os

from .diagnostic import Diagnostic

__all__ = ["is_shown", "leads_out", "lies_in", "withheld"]


def lies_in(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> bool:
    """Tell whether a file lies in a folder or below it, all links followed."""
    real, base = os.path.realpath(path), os.path.realpath(folder)
    return real == base or real.startswith(base.rstrip(os.sep) + os.sep)


def leads_out(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file that somebody names lies elsewhere by its links: out of the working folder, where it seems to
    lie there, else out of the folder that its path names."""
    place, here = os.path.abspath(path), os.getcwd()
    seems_here = place.startswith(here.rstrip(os.sep) + os.sep)
    return not lies_in(place, here if seems_here else os.path.dirname(place))


def is_shown(path: str | os.PathLike[str]) -> bool:
    """Tell whether messages may quote a file that is to hold rules: not where its path is a link to what is no `.init` file.

    Otherwise `e.init -> .git/config` would have its lines printed.
    """
    real = os.path.realpath(path)
    return real.endswith(".init") or os.path.basename(real) == os.path.basename(os.fspath(path))


def withheld(path: str | os.PathLike[str], findings: list[Diagnostic]) -> list[Diagnostic]:
    """Return findings about a rule file, or where these may not quote it one that does not."""
    if is_shown(path) or all(finding.source is None for finding in findings):
        return findings
    message = (
        f"`{path}` leads to `{os.path.realpath(path)}`, no rule file by its name: what is wrong in it is not shown"
    )
    return [Diagnostic("unreadable-file", message, hint="name that file itself")]
