"""Which files to lint."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import cache

from initdsl.text.diagnostic import Diagnostic
from initdsl.text.failures import reason
from initdsl.text.places import lies_in

from .config import find_config

__all__ = ["find_files", "leaving", "rule_files"]


def find_files(paths: Sequence[str | os.PathLike[str]], refused: list[Diagnostic] | None = None) -> list[str]:
    """Return the rule files that paths name: files as they are, folders for every `*.init` in them that is not excluded.

    What can't be read of a folder, and links that lead out of it, are added to `refused`.
    Raises ConfigError where the settings of a folder can't be right.
    """
    problems: list[Diagnostic] = [] if refused is None else refused
    config_of = cache(find_config)
    files: dict[str, None] = {}
    for path in [os.fspath(path) for path in paths]:
        if not os.path.isdir(path):
            files[os.path.normpath(path)] = None
            continue
        for file in rule_files(path, problems, lambda folder: config_of(os.path.dirname(folder)).excludes(folder)):
            if config_of(os.path.dirname(file)).excludes(file):
                continue
            out = leaving(file, path)
            if out is not None:
                problems.append(out)
            else:
                files[file] = None
    return list(files)


def rule_files(folder: str, problems: list[Diagnostic], is_left_out: Callable[[str], bool]) -> Iterator[str]:
    """Yield the `*.init` of a folder and those below, but for folders that are hidden, of others' code, or left out.

    Links to folders are not followed. Folders that can't be read are added to `problems`.
    """

    def unreadable(error: OSError) -> None:
        problems.append(Diagnostic("unreadable-file", f"can't read `{error.filename}`: {reason(error)}"))

    for inside, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(n for n in folders if not _is_hidden(n) and not is_left_out(os.path.join(inside, n)))
        for name in sorted(names):
            if name.endswith(".init"):
                yield os.path.normpath(os.path.join(inside, name))


def leaving(file: str, folder: str) -> Diagnostic | None:
    """Return what is wrong with a file of a folder that is a link out of it; None for all others."""
    if not os.path.islink(file) or lies_in(file, folder):
        return None
    message = f"`{file}` is a link that leads out of `{folder}`; it was not looked at"
    return Diagnostic("unreadable-file", message, hint="name the file that it leads to, or leave it out with `exclude`")


def _is_hidden(folder: str) -> bool:
    return folder.startswith(".") or folder in ("__pycache__", "node_modules", "venv", "site-packages")
