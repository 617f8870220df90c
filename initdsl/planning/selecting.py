"""Selectors of statements: what they select, and findings where they select nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from initdsl.language.expressions.let import Variables
from initdsl.language.expressions.shapes import EvalError
from initdsl.language.syntax.nodes import Selector, Union_, Within
from initdsl.network.description import Network
from initdsl.network.selectors.context import SelectorContext
from initdsl.network.selectors.matches import Frame, Match, Unmatched, continued
from initdsl.network.selectors.select import container_of, select
from initdsl.network.selectors.why_nothing import explain
from initdsl.text.diagnostic import Diagnostic, Severity

from .context import Context, finding_of
from .names import selector_context

__all__ = ["Setting", "parameters_in", "select_or_report"]


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a statement stands: `Setting("net.init", variables, Frame(network, [Match(1)]))`.

    That is its file, the `let` names it sees, and the block it is in.
    """

    source: str
    variables: Variables
    frame: Frame | None


def select_or_report(
    context: Context, setting: Setting, selector: Selector, findings: list[Diagnostic]
) -> list[Match] | None:
    """Return the matches; of none, with a finding where the language wants one. None after an error, which is a finding."""
    selectors = selector_context(context, setting.variables)
    try:
        matches = select(selectors, selector, setting.frame)
        for reason in _unmatched(selectors, selector, matches, setting.frame):
            where = context.rules.source(setting.source)
            is_warning = reason.warning and not (context.strict and not matches)
            severity: Severity = "warning" if is_warning else "error"
            findings.append(
                Diagnostic(reason.name, reason.message, where, reason.span, reason.hint, severity, fix=reason.fix)
            )
        return matches
    except EvalError as error:
        findings.append(finding_of(context, error, setting.source))
        return None


def _unmatched(
    selectors: SelectorContext, selector: Selector, matches: list[Match], frame: Frame | None
) -> Iterator[Unmatched]:
    """Yield why parts of a selector, or all of it, select nothing."""
    if isinstance(selector, Union_):
        for member in selector.members:
            yield from _unmatched(selectors, member, select(selectors, member, frame), frame)
    elif not matches:
        yield from explain(selectors, selector, frame)
    elif isinstance(selector, Within):
        inner = selector.selector
        yield from _unmatched(selectors, inner, select(selectors, inner, frame), frame)
        yield from _empty_containers(selectors, selector.container, frame)


def _empty_containers(selectors: SelectorContext, selector: Selector, frame: Frame | None) -> Iterator[Unmatched]:
    """Yield why parts of what stands behind an `in` select nothing."""
    if isinstance(selector, Union_):
        for member in selector.members:
            yield from _empty_containers(selectors, member, frame)
    elif not container_of(selectors, selector, frame):
        yield from explain(selectors, selector, continued(selector, frame), True)


def parameters_in(network: Network, matches: list[Match]) -> Iterator[Match]:
    """Yield the matches, modules among them as the parameters at any depth below them."""
    for match in matches:
        if match.tensor is not None:
            yield match
            continue
        for index in network.reachable(match.module):
            for tensor in network.modules[index].parameters.values():
                yield Match(index, tensor, match.bindings, (match.module, *match.scope), match.frame)
