"""Findings about a text as it is typed: what reading it, the lints and (with a manifest) the model say."""

from __future__ import annotations

import os
from dataclasses import replace

from initdsl.language.rules.loader import read_rules
from initdsl.language.rules.ruleset import RuleSet
from initdsl.language.syntax.nodes import Use
from initdsl.language.syntax.parse import ParseCache
from initdsl.linter import against, lint_source
from initdsl.text.diagnostic import Diagnostic
from initdsl.text.source import Source

from .known import Known

__all__ = ["findings"]


def findings(path: str, text: str, known: Known, cache: ParseCache | None = None) -> list[Diagnostic]:
    """Every finding about a text that stands for a file; what is wrong in a file it uses is found at its `use`.

    `cache` makes reading a text anew that changed a little fast.
    """
    config = known.config
    rules, problems = read_rules(path, text=text, root=config.root_folder, cache=cache)
    if path not in rules.sources:
        return problems
    source = rules.source(path)
    network = known.network if not problems else None
    found = lint_source(source, rules, problems, config, None if network is None else against(network))
    return [one for one in (_here(one, source, rules) for one in found) if one is not None]


def _here(found: Diagnostic, source: Source, rules: RuleSet) -> Diagnostic | None:
    if found.source is None or found.source.name == source.name:
        return found
    for rule in rules.walk():
        if isinstance(rule, Use) and rule.source == source.name and found.severity == "error":
            inside = list(RuleSet.model_construct(rules=rule.rules or ()).walk())
            # what can't be read holds no rule: its name is in the `use` of it
            used = {os.path.basename(one.path) for one in (rule, *inside) if isinstance(one, Use)}
            if found.source.name in {one.source for one in inside} or os.path.basename(found.source.name) in used:
                message = f"{found.location}: {found.message}"
                return replace(found, source=source, span=rule.path_span, message=message, fix=None, labels=())
    return None
