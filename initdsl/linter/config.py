"""`[tool.initdsl]` of pyproject.toml."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

from initdsl.text.diagnostic import Diagnostic, InitDSLError
from initdsl.text.files import read_whole
from initdsl.text.places import lies_in
from initdsl.text.source import Source, Span
from initdsl.text.wording import did_you_mean, listed

__all__ = ["LARGEST", "Config", "ConfigError", "find_config", "matches"]


LARGEST = 16 << 20


LISTS = ("select", "ignore", "exclude", "initializers", "import", "pythonpath")


STRINGS = ("model", "root")


KEYS = (*LISTS, "per-file-ignores", "manifest", *STRINGS)


class ConfigError(InitDSLError):
    """The configuration can't be right."""


@dataclass(frozen=True)
class Config:
    """Settings for the files under `folder`: of `[tool.initdsl]` with `ignore = ["zero-std"]` an `ignore` of one name.

    `select` are the lints to run (empty: all), `ignore` those not to; `per_file_ignores` maps a glob to further ones.
    `exclude` are globs of files not to look for, `initializers` names that Python code registers, `imports` the modules
    that register them, which a command imports under `--trust`; `pythonpath` are folders that it looks for modules in
    then. `model` is the model, `manifests` maps globs of rule files to its description; `root` is the folder `use` and
    `load` may not leave. Paths are relative to `folder`.
    """

    folder: Path = field(default_factory=Path)
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    per_file_ignores: tuple[tuple[str, tuple[str, ...]], ...] = ()
    exclude: tuple[str, ...] = ()
    initializers: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    pythonpath: tuple[str, ...] = ()
    model: str | None = None
    manifests: tuple[tuple[str, str], ...] = ()
    root: str | None = None

    @property
    def root_folder(self) -> Path | None:
        """The folder that `use` and `load` may not leave, None for that of each file. It never leads out of `folder`."""
        if self.root is None:
            return None
        return self.folder / self.root if lies_in(self.folder / self.root, self.folder) else self.folder

    def relative(self, path: str | os.PathLike[str]) -> str:
        """Return a path as the globs see it: relative to `folder`, with `/`."""
        return os.path.relpath(os.path.abspath(path), self.folder.absolute()).replace(os.sep, "/")

    def ignored_in(self, path: str | os.PathLike[str]) -> frozenset[str]:
        """Return the lints that `per-file-ignores` switches off for a file."""
        relative = self.relative(path)
        return frozenset(name for glob, names in self.per_file_ignores if matches(relative, glob) for name in names)

    def excludes(self, path: str | os.PathLike[str]) -> bool:
        """Tell whether a file or folder is not to be looked at."""
        relative = self.relative(path)
        return any(matches(relative, glob) for glob in self.exclude)

    def manifest_of(self, path: str | os.PathLike[str]) -> str | None:
        """Return the description of the model that a rule file is for: that of the last glob that takes the file in."""
        relative = self.relative(path)
        manifests = [manifest for glob, manifest in self.manifests if matches(relative, glob)]
        return str(self.folder / manifests[-1]) if manifests else None

    def holds(self, path: str | os.PathLike[str]) -> bool:
        """Tell whether a file that the settings name lies in their folder, its links followed."""
        return lies_in(path, self.folder)

    def names(self) -> frozenset[str]:
        """Return every lint that the settings name."""
        return frozenset((*self.select, *self.ignore, *(n for _, names in self.per_file_ignores for n in names)))


def matches(path: str, glob: str) -> bool:
    """Tell whether a glob takes in a relative path, its last part, or a folder it lies in."""
    glob = glob.removeprefix("./").rstrip("/")
    parts = path.split("/")
    folders = ("/".join(parts[:i]) for i in range(1, len(parts) + 1))
    if any(fnmatchcase(folder, glob) for folder in folders):
        return True
    return "/" not in glob and any(fnmatchcase(part, glob) for part in parts)


def find_config(start: str | os.PathLike[str]) -> Config:
    """Return the settings that hold in a folder: of the nearest pyproject.toml above it that has `[tool.initdsl]`.

    Raises ConfigError where they can't be right.
    """
    folder = os.path.abspath(start)
    while True:
        path = os.path.join(folder, "pyproject.toml")
        try:
            state = os.stat(path)
            config = _read(path, state.st_mtime_ns, state.st_size)
        except (OSError, ValueError):
            config = None
        if config is not None:
            return config
        above = os.path.dirname(folder)
        if above == folder:
            return Config(Path(folder))
        folder = above


@lru_cache(maxsize=256)
def _read(path: str, changed: int, size: int) -> Config | None:
    """Return the settings of a file; when it changed, and its size, tell a cached answer from a stale one."""
    try:
        data = read_whole(path, LARGEST)
        if b"initdsl" not in data:
            return None
        import tomllib  # late: most files end above

        text = data.decode("utf-8")
        tool = tomllib.loads(text).get("tool", {})
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(Diagnostic("bad-configuration", f"can't read `{path}`: {str(error).lower()}")) from None
    source = Source(path, text)
    table = tool.get("initdsl") if isinstance(tool, dict) else tool
    if table is None:
        return None
    if not isinstance(table, dict):
        raise ConfigError(Diagnostic("bad-configuration", "`tool.initdsl` is not a table", source))
    problems = [problem for key, value in table.items() if (problem := _problem(source, key, value)) is not None]
    if problems:
        raise ConfigError(problems)
    lists: dict[str, Any] = {f"{key}s" if key == "import" else key: tuple(table[key]) for key in LISTS if key in table}
    strings = {key: table[key] for key in STRINGS if key in table}
    ignores = tuple((glob, tuple(names)) for glob, names in table.get("per-file-ignores", {}).items())
    manifest = table.get("manifest", {})
    manifests = tuple(({"*": manifest} if isinstance(manifest, str) else manifest).items())
    return Config(Path(os.path.dirname(path)), per_file_ignores=ignores, manifests=manifests, **lists, **strings)


def _problem(source: Source, key: str, value: Any) -> Diagnostic | None:
    def problem(message: str, hint: str | None = None) -> Diagnostic:
        return Diagnostic("bad-configuration", message, source, _place(source, key), hint)

    if key not in KEYS:
        hint = did_you_mean(key, KEYS) or f"the settings are {listed(list(KEYS), len(KEYS))}"
        return problem(f"`tool.initdsl` has no setting `{key}`", hint)
    if key in LISTS and not _are_strings(value):
        return problem(f"`{key}` is a list of strings", f'as in `{key} = ["..."]`')
    if key in STRINGS and not isinstance(value, str):
        return problem(f"`{key}` is a string", f'as in `{key} = "..."`')
    if key == "per-file-ignores" and not (isinstance(value, dict) and all(_are_strings(v) for v in value.values())):
        return problem("`per-file-ignores` maps globs to lists of lints", 'as in `"examples/*.init" = ["catch-all"]`')
    paths = list(value.values()) if isinstance(value, dict) else [value]
    if key == "manifest" and not _are_strings(paths):
        return problem(
            "`manifest` is the path of a model description, or maps globs of rule files to such paths",
            'as in `manifest = "model.json"`, or `"gpt*.init" = "gpt.json"` below `[tool.initdsl.manifest]`',
        )
    return None


def _are_strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _place(source: Source, key: str) -> Span | None:
    """Return where a setting stands: as a key, or as the name of a table of its own."""
    table = source.text.find("[tool.initdsl")
    match = re.compile(
        rf"^\s*(\"?{re.escape(key)}\"?)\s*=|^\[tool\.initdsl\.\"?({re.escape(key)})\"?\]", re.MULTILINE
    ).search(source.text, max(table, 0))
    if match is None:
        return None
    group = 1 if match[1] else 2
    return Span(match.start(group), match.end(group))
