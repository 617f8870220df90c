"""Lints put to files: which run, and what of their findings is silenced."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from initdsl.language.rules.loader import read_rules
from initdsl.language.rules.ruleset import RuleSet
from initdsl.language.syntax.nodes import Rule
from initdsl.text.diagnostic import Diagnostic, in_order
from initdsl.text.places import withheld
from initdsl.text.source import Source, Span

from .against_network import Resolve, Resolved, against
from .config import Config, find_config
from .definition import Lint, all_lints
from .file import File, file_of
from .files import find_files
from .suppressions import Suppressions, read_suppressions, silenced

if TYPE_CHECKING:
    from torch import nn

    from initdsl.network.description import Network

__all__ = ["is_unreadable", "lint", "lint_file", "lint_source"]


# findings without which a file can't be looked at
UNREADABLE = frozenset(["unreadable-file", "file-too-large", "not-utf8"])


def lint(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], net: nn.Module | Network | None = None
) -> list[Diagnostic]:
    """Return the findings about a rule file, or about all files of a list or folder.

    With `net`, a module or a described `Network`, those that only a model brings to light as well. Settings come from
    the nearest pyproject.toml. Raises ConfigError where these can't be right.

    >>> from pathlib import Path
    >>> _ = Path("net.init").write_text("Linear.weight ~ kaimin_normal()")
    >>> [finding.name for finding in lint("net.init")]
    ['unknown-initializer']
    """
    paths = [path] if isinstance(path, str | os.PathLike) else list(path)
    network = None if net is None else against(net)
    refused: list[Diagnostic] = []
    files = find_files(paths, refused)
    return in_order(refused + [one for file in files for one in withheld(file, lint_file(file, network=network))])


def lint_file(
    path: str | os.PathLike[str], text: str | None = None, config: Config | None = None, network: Resolve | None = None
) -> list[Diagnostic]:
    """Return every finding about one file, or about `text` in its place. A file that can't be read is a finding too.

    Raises ConfigError where the settings for it can't be right.
    """
    name = os.fspath(path)
    config = config or find_config(os.path.dirname(os.path.abspath(name)))
    rules, problems = read_rules(name, text=text, root=config.root_folder)
    if name not in rules.sources:
        return problems
    return lint_source(rules.source(name), rules, problems, config, network)


def lint_source(
    source: Source,
    rules: RuleSet | Iterable[Rule],
    problems: Iterable[Diagnostic],
    config: Config | None = None,
    network: Resolve | None = None,
) -> list[Diagnostic]:
    """Return every finding about one parsed text, in its order.

    `problems` are what reading it brought up; they are part of the result. `network` resolves a rule set against a
    model: its findings are added, and the lints that need a plan look at the one it gives.
    """
    config = config or Config()
    problems = list(problems)
    if not isinstance(rules, RuleSet):
        rules = RuleSet(rules=tuple(rules), sources={source.name: source.text})
    off = frozenset(config.ignore) | config.ignored_in(source.name)
    enabled = [lint for name, lint in all_lints().items() if name not in off and name in (config.select or (name,))]
    file = file_of(source, rules, frozenset(config.initializers))
    resolved = None if network is None else network(rules, file.initializers)
    findings = [*problems, *_network_findings(resolved, config), *_lint_findings(enabled, file, resolved)]
    if resolved is not None:
        findings = _said_better(_once(findings))
    findings = [finding for finding in findings if finding.name not in off]
    suppressions = _suppressions(source, enabled, resolved is not None)
    if suppressions is not None:
        findings = _not_silenced(suppressions, findings, [] if problems else enabled, file)
    return in_order(findings)


def _network_findings(resolved: Resolved | None, config: Config) -> list[Diagnostic]:
    """Return what the resolver found of the selected lints, and its errors in any case."""
    findings = () if resolved is None else resolved.findings
    return [f for f in findings if not config.select or f.name in config.select or f.severity == "error"]


def _lint_findings(enabled: list[Lint], file: File, resolved: Resolved | None) -> list[Diagnostic]:
    plan = None if resolved is None else resolved.plan
    findings: list[Diagnostic] = []
    for lint in enabled:
        if lint.needs == "file" or (lint.needs == "file-alone" and resolved is None):
            findings += lint.run(file)
        elif lint.needs == "network" and plan is not None:
            findings += lint.run(file, plan)
    return findings


def _once(findings: list[Diagnostic]) -> list[Diagnostic]:
    """Return one finding of a name in a place, that with a fix: the resolver and a lint may find the same."""
    places: dict[tuple[str, str | None, Span | None], Diagnostic] = {}
    for finding in findings:
        place = finding.name, finding.file, finding.span
        if place not in places or (finding.fix is not None and places[place].fix is None):
            places[place] = finding
    return list(places.values())


# of one statement, what says more than that later ones replace it
SAY_MORE = frozenset(["duplicate-rule", "tied-conflict", "tied-redraw"])


def _said_better(findings: list[Diagnostic]) -> list[Diagnostic]:
    """Return the findings but for statements said to be replaced of which another finding says why."""
    places = [(f.file, f.span) for f in findings if f.name in SAY_MORE and f.span is not None]

    def is_said(finding: Diagnostic) -> bool:
        if finding.name not in ("shadowed-rule", "dead-edit") or finding.span is None:
            return False
        start, end = finding.span
        return any(file == finding.file and start <= span.start and span.end <= end for file, span in places)

    return [finding for finding in findings if not is_said(finding)] if places else findings


def _suppressions(source: Source, enabled: list[Lint], has_network: bool) -> Suppressions | None:
    """Return the suppressions of a text that may have some."""
    if "initdsl" not in source.text:
        return None
    not_looked = ("file-alone",) if has_network else ("network", "resolver")
    looked = frozenset(lint.name for lint in enabled if lint.needs not in not_looked)
    return read_suppressions(source, looked, frozenset(all_lints()))


def _not_silenced(
    suppressions: Suppressions, findings: list[Diagnostic], enabled: list[Lint], file: File
) -> list[Diagnostic]:
    """Return the findings that no comment silences, and those that lints have about the comments."""
    kept, used = silenced(suppressions, findings)
    suppressions = replace(suppressions, used=used)
    about = [f for lint in enabled if lint.needs == "suppressions" for f in lint.run(file, suppressions)]
    return kept + silenced(suppressions, about)[0]


def is_unreadable(finding: Diagnostic) -> bool:
    """Tell whether a finding says that a file could not be read at all."""
    return finding.source is None and finding.name in UNREADABLE
