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

__all__ = ["BaselineError", "baseline_text", "read_baseline", "without_known"]


Key = tuple[str, str, str]


LARGEST = 64 << 20


class BaselineError(ValueError):
    """The file is no baseline."""


def key(found: Diagnostic, folder: Path) -> Key:
    """What makes a finding the same one later: its file, its name and the text of its line, wherever that moved."""
    file = os.path.relpath(found.file or "", folder).replace(os.sep, "/")
    line = found.source.line(found.line).strip() if found.source is not None and found.line else ""
    return (file, found.name, line)


def baseline_text(findings: Iterable[Diagnostic], folder: Path) -> str:
    """The baseline that knows these findings, as JSON; files relative to `folder`."""
    counted = Counter(key(found, folder) for found in findings)
    entries = [
        {"file": file, "name": name, "line": line, "count": count}
        for (file, name, line), count in sorted(counted.items())
    ]
    return json.dumps({"version": 1, "findings": entries}, indent=1, ensure_ascii=False) + "\n"


def read_baseline(path: Path) -> Counter[Key]:
    """The findings a baseline knows. Raises BaselineError or OSError."""
    try:
        stored: Any = json.loads(read_whole(path, LARGEST))
        if stored["version"] != 1:
            raise BaselineError(f"`{path}` is a baseline of version {stored['version']!r:.20}, this reads version 1")
        return Counter({(e["file"], e["name"], e["line"]): int(e["count"]) for e in stored["findings"]})
    except (ValueError, ArithmeticError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, BaselineError):
            raise
        raise BaselineError(f"`{path}` is not a baseline") from None


def without_known(findings: Sequence[Diagnostic], known: Counter[Key], folder: Path) -> list[Diagnostic]:
    """The findings a baseline does not know; of several alike, those beyond its count."""
    left = Counter(known)
    fresh = []
    for found in findings:
        one = key(found, folder)
        if left[one] > 0:
            left[one] -= 1
        else:
            fresh.append(found)
    return fresh
