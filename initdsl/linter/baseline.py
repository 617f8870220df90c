"""A baseline: the findings a repository starts with, recorded so that only new ones are reported."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from initdsl.text.diagnostic import Diagnostic
from initdsl.text.files import read_whole

from .formats import line_text

__all__ = ["BaselineError", "baseline_text", "read_baseline", "unrecorded"]


# what makes a finding the same one later: its file, its name and the text of its line, wherever that moved
Key = tuple[str, str, str]


LARGEST = 64 << 20


class BaselineError(ValueError):
    """The file is no baseline."""


def baseline_text(findings: Iterable[Diagnostic], folder: Path) -> str:
    """Return the baseline that records these findings, as JSON; files are relative to `folder`."""
    counted = Counter(_key(finding, folder) for finding in findings)
    entries = [
        {"file": file, "name": name, "line": line, "count": count}
        for (file, name, line), count in sorted(counted.items())
    ]
    return json.dumps({"version": 1, "findings": entries}, indent=1, ensure_ascii=False) + "\n"


def read_baseline(path: Path) -> Counter[Key]:
    """Return the findings a baseline records, counted. Raises BaselineError or OSError."""
    try:
        stored: Any = json.loads(read_whole(path, LARGEST))
        if stored["version"] != 1:
            raise BaselineError(f"`{path}` is a baseline of version {stored['version']!r:.20}, this reads version 1")
        return Counter({(e["file"], e["name"], e["line"]): int(e["count"]) for e in stored["findings"]})
    except BaselineError:
        raise
    except (ValueError, ArithmeticError, KeyError, TypeError, AttributeError, RecursionError):
        raise BaselineError(f"`{path}` is not a baseline") from None


def unrecorded(findings: Sequence[Diagnostic], recorded: Counter[Key], folder: Path) -> list[Diagnostic]:
    """Return the findings a baseline does not record; of several alike, those beyond its count."""
    remaining = Counter(recorded)
    fresh = []
    for finding in findings:
        key = _key(finding, folder)
        if remaining[key] > 0:
            remaining[key] -= 1
        else:
            fresh.append(finding)
    return fresh


def _key(finding: Diagnostic, folder: Path) -> Key:
    file = os.path.relpath(finding.file or "", folder).replace(os.sep, "/")
    return (file, finding.name, line_text(finding))
