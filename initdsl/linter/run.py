"""Lints put to files: which run, what is silenced, what is fixed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from initdsl.language.rules.loader import read_rules
from initdsl.language.rules.ruleset import RuleSet
from initdsl.language.syntax.nodes import Rule
from initdsl.language.syntax.parse import parse_source
from initdsl.text.diagnostic import Diagnostic, in_order
from initdsl.text.source import Source, Span

from .against_network import Resolve, against
from .config import Config, find_config
from .definition import all_lints
from .edits import applied
from .file import File

if TYPE_CHECKING:
    from .suppressions import Suppressions

__all__ = [
    "Fixed",
    "find_files",
    "fixed",
    "folder_of",
    "lint",
    "lint_file",
    "lint_source",
    "unknown_names",
    "unreadable",
    "with_names",
]


# findings without which a file can't be looked at
UNREADABLE = frozenset(["unreadable-file", "file-too-large", "not-utf8"])


# a fix may bring up the next one; this many rounds settle everything but a circle
ROUNDS = 10


def lint_source(
    source: Source, rules: RuleSet | Iterable[Rule], problems: Iterable[Diagnostic], config: Config | None = None,
    network: Resolve | None = None,
) -> list[Diagnostic]:  # fmt: skip
    """Every finding about one parsed text, in its order.

    `problems` are what reading it found; they are part of the result. `network` resolves a rule set against a network:
    its findings are added, and the lints that need a plan run on the one it gives.
    """
    config = config or Config()
    found = list(problems)
    complete = not found
    off = frozenset(config.ignore) | config.ignored_in(source.name)
    enabled = frozenset(
        name for name in all_lints() if (not config.select or name in config.select) and name not in off
    )
    looked = frozenset(n for n in enabled if network is not None or all_lints()[n].needs not in ("network", "resolver"))
    suppressions = _suppressions(source, looked, frozenset(all_lints()))
    whole = rules if isinstance(rules, RuleSet) else RuleSet(rules=tuple(rules), sources={source.name: source.text})
    file = File(
        source, whole.rules, {name: whole.source(name) for name in whole.sources}, frozenset(config.initializers)
    )
    plan = None
    if network is not None:
        plan, resolved = network(whole, file.initializers)
        found += [one for one in resolved if not config.select or one.name in config.select or one.severity == "error"]
    for name, one in all_lints().items():
        if name in enabled and one.needs == "file":
            found += one.run(file)
        elif name in enabled and one.needs == "network" and plan is not None:
            found += one.run(file, plan)
    if network is not None:
        found = _once(found)
    found = [one for one in found if one.name not in off]
    if suppressions is not None:
        found = suppressions.keep(found)
    for name, one in all_lints().items():
        if suppressions is not None and complete and name in enabled and one.needs == "suppressions":
            found += suppressions.keep(one.run(file, suppressions))
    return in_order(found)


def _once(found: list[Diagnostic]) -> list[Diagnostic]:
    """The resolver and a lint may find the same: one finding of a name in a place, that with a fix."""
    places: dict[tuple[str, str | None, Span | None], Diagnostic] = {}
    for one in found:
        place = one.name, one.file, one.span
        if place not in places or (one.fix is not None and places[place].fix is None):
            places[place] = one
    return list(places.values())


def _suppressions(source: Source, enabled: frozenset[str], known: frozenset[str]) -> Suppressions | None:
    """The suppressions of a text that may have some."""
    if "initdsl" not in source.text:
        return None
    from .suppressions import read_suppressions

    return read_suppressions(source, enabled, known)


def lint_file(
    path: str | os.PathLike[str], text: str | None = None, config: Config | None = None, network: Resolve | None = None
) -> list[Diagnostic]:
    """Every finding about one file, or about `text` in its place. A file that can't be read is a finding too.

    Raises ConfigError where the settings for it can't be right.
    """
    name = os.fspath(path)
    config = config or find_config(os.path.dirname(os.path.abspath(name)))
    root = None if config.root is None else config.folder / config.root
    rules, problems = read_rules(name, text=text, root=root)
    if name not in rules.sources:
        return problems
    return lint_source(rules.source(name), rules, problems, config, network)


def unreadable(found: Diagnostic) -> bool:
    """Whether a finding says that a file could not be read at all."""
    return found.source is None and found.name in UNREADABLE


def find_files(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    """The rule files that paths name: files as they are, folders for every `*.init` in them that is not excluded."""
    found: dict[str, None] = {}
    for path in paths:
        name = os.fspath(path)
        if not os.path.isdir(name):
            found[os.path.normpath(name)] = None
            continue
        for folder, folders, files in os.walk(name):
            config = find_config(folder)
            folders[:] = sorted(
                f for f in folders if not _is_hidden(f) and not config.excludes(os.path.join(folder, f))
            )
            for file in sorted(files):
                place = os.path.normpath(os.path.join(folder, file))
                if file.endswith(".init") and not config.excludes(place):
                    found[place] = None
    return list(found)


def _is_hidden(folder: str) -> bool:
    return folder.startswith(".") or folder in ("__pycache__", "node_modules", "venv", "site-packages")


def lint(path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], net: Any = None) -> list[Diagnostic]:
    """The findings about a rule file, or about all files of a list or folder.

    With `net`, a module or a described `Network`, those that only a network brings to light as well. Settings come from
    the nearest pyproject.toml. Raises ConfigError where these can't be right.

    >>> from pathlib import Path
    >>> _ = Path("net.init").write_text("Linear.weight ~ kaimin_normal()")
    >>> [found.name for found in lint("net.init")]
    ['unknown-initializer']
    """
    paths = [path] if isinstance(path, str | os.PathLike) else list(path)
    network = None if net is None else against(net)
    return in_order([found for file in find_files(paths) for found in lint_file(file, network=network)])


@dataclass(frozen=True)
class Fixed:
    """A text after its fixes: how many were made, and the findings that are left."""

    text: str
    count: int
    left: list[Diagnostic]


def fixed(
    path: str | os.PathLike[str], text: str, config: Config, unsafe: bool = False, network: Resolve | None = None
) -> Fixed:
    """A text with its findings fixed as far as they can be; a text that does not parse is left as it is.

    Only safe fixes, which leave the plan as it was, unless `unsafe`. The result parses: a round of fixes that would
    break the text is not made.
    """
    name = os.fspath(path)
    left = lint_file(name, text, config, network)
    count = 0
    for _ in range(ROUNDS):
        source = Source(name, text)
        fixes = [f.fix for f in left if f.fix is not None and (f.fix.safe or unsafe) and f.source == source]
        changed, taken = applied(text, fixes)
        if changed == text or not _parses(Source(name, changed)):
            break
        text, count = changed, count + len(taken)
        left = lint_file(name, text, config, network)
    return Fixed(text, count, left)


def _parses(source: Source) -> bool:
    return not parse_source(source)[1]


def with_names(config: Config, select: Sequence[str], ignore: Sequence[str]) -> Config:
    """Settings with the lints chosen on the command line: `select` replaces theirs, `ignore` adds to it."""
    return replace(config, select=tuple(select) or config.select, ignore=(*config.ignore, *ignore))


def unknown_names(names: Iterable[str]) -> list[str]:
    """The names that no lint bears."""
    return sorted(name for name in set(names) if name not in all_lints())


def folder_of(path: str) -> Path:
    """The folder a file's settings are looked for from."""
    return Path(os.path.dirname(os.path.abspath(path)))
