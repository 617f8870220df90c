"""Selectors of statements: what they select, and findings where they select nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from initdsl.language.expressions.let import Variables
from initdsl.language.expressions.shapes import EvalError
from initdsl.language.syntax.nodes import Default, Keep, Maybe, Path, Rule, Selector, Union_, Within
from initdsl.network.description import Network
from initdsl.network.parts import ModuleInfo
from initdsl.network.selectors.context import Reads, SelectorContext
from initdsl.network.selectors.in_part import hint_in_part
from initdsl.network.selectors.matches import Frame, Match, Unmatched, continued
from initdsl.network.selectors.select import container_of, select
from initdsl.network.selectors.why_nothing import explain
from initdsl.text.diagnostic import Diagnostic, Severity
from initdsl.text.source import Span

from .context import Context, finding_of, match_label
from .names import selector_context
from .reads import reads_of

__all__ = [
    "OwnTensors",
    "Setting",
    "nothing_to_do",
    "parameters_of",
    "resettable_of",
    "select_or_report",
    "selectors_at",
    "state_of",
    "stored_of",
    "tensors_in",
    "without_tensors",
]


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a statement stands: `Setting(rule, variables, Frame(model, [Match(1)]))`.

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
    known: list[Reads] = []

    def reads() -> Reads:
        if not known:
            known.append(setting.reads())
        return known[0]

    return selector_context(context, setting.variables, span, reads=reads)


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
            hint = reason.hint
            if severity == "error":
                from_net = isinstance(selector, Path) and selector.root == "net"
                hint = hint_in_part(context.network, hint, is_guess=reason.fix is not None or not from_net)
            finding = Diagnostic(reason.name, reason.message, where, reason.span, hint, severity, fix=reason.fix)
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


def tensors_in(
    context: Context, setting: Setting, matches: Iterable[Match], span: Span, own: OwnTensors
) -> Iterator[Match]:
    """Yield the matches, modules among them as `own` tensors of theirs and of all modules below them.

    `span` is blamed for too many.
    """
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
            for tensor in own(network, network.modules[index]):
                yield Match(index, tensor, match.bindings, (match.module, *match.scope), match.frame)


# which tensors of a module's own a statement means, by their numbers
OwnTensors = Callable[[Network, ModuleInfo], Collection[int]]


def parameters_of(network: Network, module: ModuleInfo) -> Collection[int]:
    """Return the parameters of a module, computed ones among them."""
    return module.parameters.values()


def state_of(network: Network, module: ModuleInfo) -> Collection[int]:
    """Return the parameters of a module, computed ones among them, and its persistent buffers."""
    return module.state.values()


def stored_of(network: Network, module: ModuleInfo) -> Collection[int]:
    """Return what a state dict has of a module: of a computed tensor, what it is computed from."""
    return [tensor for tensor in module.state.values() if network.tensors[tensor].kind != "parametrized"]


def resettable_of(network: Network, module: ModuleInfo) -> Collection[int]:
    """Return what may have a default: parameters, and the persistent buffers beside a `reset_parameters`."""
    return module.parameters.values() if module.reset is None else module.state.values()


def without_tensors(
    context: Context, setting: Setting, selector: Selector, own: OwnTensors
) -> Iterator[tuple[Selector, Match]]:
    """Yield the parts of a selector that select modules alone, and of those no tensor, with the first of the modules."""
    network, selectors = context.network, selectors_at(context, setting, selector.span)
    for part in selector.members if isinstance(selector, Union_) else (selector,):
        matches = [] if isinstance(part, Maybe) else select(selectors, part, setting.frame)
        if matches and not any(_has_any(network, match, own) for match in matches):
            yield part, matches[0]


def _has_any(network: Network, match: Match, own: OwnTensors) -> bool:
    """Return whether a match is a tensor, or a module with `own` tensors in it."""
    if match.tensor is not None or own(network, network.modules[match.module]):
        return True
    return any(own(network, network.modules[index]) for index in network.reachable(match.module))


def nothing_to_do(context: Context, source: str, selector: Selector, match: Match, what: str) -> Diagnostic:
    """Return the error for a selector of modules that have nothing a statement could act on."""
    network = context.network
    module = network.modules[match.module]
    below = [network.modules[index] for index in network.reachable(match.module)]
    buffers = [f"{each.label}.{local}" for each in below for local in each.buffers]
    persistent = any(each.state for each in below)
    reason = f"`{match_label(context, match)}` has no parameters{'' if persistent else ' and no persistent buffers'}"
    hint = "a selector that may have nothing ends in `?`"
    if what == "default" and buffers:
        reason = f"`{module.cls.name}` has buffers and no `reset_parameters`" if persistent else reason
        hint = f"buffers keep what the constructor wrote; a rule sets them: `{buffers[0]} = ...`"
    elif buffers:
        hint = f"a buffer is named by itself: `{buffers[0]}`"
    message = f"{reason}: `{what}` has nothing to do"
    return Diagnostic("nothing-to-do", message, context.rules.source(source), selector.span, hint)
