"""Selectors of statements: what they select, and findings where they select nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from initdsl.language.expressions.let import Variables
from initdsl.language.expressions.shapes import EvalError
from initdsl.language.syntax.nodes import Default, Keep, Rule, Selector, Union_, Within
from initdsl.network.selectors.context import Reads, SelectorContext
from initdsl.network.selectors.matches import Frame, Match, Unmatched, continued
from initdsl.network.selectors.select import container_of, select
from initdsl.network.selectors.why_nothing import explain
from initdsl.text.diagnostic import Diagnostic, Severity
from initdsl.text.source import Span

from .context import Context, finding_of
from .names import selector_context
from .reads import reads_of

__all__ = ["Setting", "parameters_in", "select_or_report", "selectors_at"]


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a statement stands: `Setting(rule, variables, Frame(network, [Match(1)]))`.

    That is the statement itself, the `let` names it sees, and the block it is in.
    """

    rule: Rule
    variables: Variables
    frame: Frame | None

    @property
    def source(self) -> str:
        """The name of the file."""
        return self.rule.source

    def reads(self) -> Reads:
        """Return what the statement makes of its matches."""
        return reads_of([self.rule], self.variables, self.frame)


def selectors_at(context: Context, setting: Setting, span: Span) -> SelectorContext:
    """Return the context in which a selector of a statement is matched; `span` is blamed where there are too many matches."""
    return selector_context(context, setting.variables, span, reads=cache(setting.reads))


def select_or_report(
    context: Context, setting: Setting, selector: Selector, findings: list[Diagnostic]
) -> list[Match] | None:
    """Return the matches; of none, with a finding where the language wants one. None after an error, which is a finding."""
    selectors = selectors_at(context, setting, selector.span)
    try:
        matches = select(selectors, selector, setting.frame)
        for reason in _unmatched(selectors, selector, matches, setting.frame):
            where = context.rules.source(setting.source)
            severity: Severity = "warning" if reason.warning else "error"
            finding = Diagnostic(reason.name, reason.message, where, reason.span, reason.hint, severity, fix=reason.fix)
            findings.append(finding)
            if not matches:
                context.cache.empty.append(finding)
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


def parameters_in(context: Context, setting: Setting, matches: list[Match], span: Span) -> Iterator[Match]:
    """Yield the matches, modules among them as the parameters at any depth below them; `span` is blamed for too many."""
    network, spend = context.network, context.cache.matches.spend
    seen: set[int] = set()
    alike = isinstance(setting.rule, Keep | Default)  # what is below several modules is reached once
    for match in matches:
        if match.tensor is not None:
            yield match
            continue
        below = network.reachable_but(seen if alike else set(), match.module)
        spend(len(below), span)
        for index in below:
            for tensor in network.modules[index].parameters.values():
                yield Match(index, tensor, match.bindings, (match.module, *match.scope), match.frame)
