"""The rules a command is about: those of a file, of standard input (`-`), or of a pipe (`<(...)`)."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from initdsl.language.rules.loader import Rules, from_texts
from initdsl.language.syntax.state import DEFAULT_LIMITS
from initdsl.text.failures import reason
from initdsl.text.source import decode

from .console import fail, reported

__all__ = ["rules_of"]


def rules_of(path: str, root: str | None = None) -> Rules:
    """Return what `initdsl.plan` takes for a rule file: its path, or the rules that standard input or a pipe holds.

    What these use and load is looked for from the working folder. Exits with 2 where they can't be read.
    """
    if path != "-" and not _is_pipe(path):
        return Path(path)
    most = DEFAULT_LIMITS.file_bytes
    try:
        if path == "-":
            data = sys.stdin.buffer.read(most + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(most + 1)
    except OSError as error:
        fail(f"can't read `{path}`: {reason(error)}")
    name = "<stdin>" if path == "-" else "<pipe>"
    if len(data) > most:
        fail(f"`{name}` is larger than {most:,} bytes")
    source = decode(name, data)
    if isinstance(source, tuple):
        fail(source[1])
    return reported(lambda: from_texts({name: source.text}, root))


def _is_pipe(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False
