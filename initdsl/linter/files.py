"""Which files to lint."""

from __future__ import annotations

import os
from collections.abc import Sequence

from .config import find_config

__all__ = ["find_files"]


def find_files(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Return the rule files that paths name: files as they are, folders for every `*.init` in them that is not excluded.

    Raises ConfigError where the settings of a folder can't be right.
    """
    files: dict[str, None] = {}
    for path in [os.fspath(path) for path in paths]:
        if not os.path.isdir(path):
            files[os.path.normpath(path)] = None
            continue
        for folder, folders, names in os.walk(path):
            config = find_config(folder)
            folders[:] = sorted(
                name for name in folders if not _is_hidden(name) and not config.excludes(os.path.join(folder, name))
            )
            for name in sorted(names):
                file = os.path.normpath(os.path.join(folder, name))
                if name.endswith(".init") and not config.excludes(file):
                    files[file] = None
    return list(files)


def _is_hidden(folder: str) -> bool:
    return folder.startswith(".") or folder in ("__pycache__", "node_modules", "venv", "site-packages")
