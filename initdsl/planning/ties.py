"""Ties: which tensors become one, checked before any does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field

from initdsl.language.expressions.shapes import EvalError
from initdsl.language.syntax.nodes import Tie
from initdsl.network.description import Network
from initdsl.network.parts import TensorInfo, describe_tensor
from initdsl.network.selectors.matches import Match
from initdsl.text.diagnostic import Diagnostic
from initdsl.text.wording import listed

from .context import Context, finding_of, match_label, state_of_match
from .plan import PlannedTie
from .selecting import nothing_to_do, select_or_report
from .statements import Statement

__all__ = ["plan_ties"]


def plan_ties(
    context: Context, statements: Sequence[Statement], findings: list[Diagnostic]
) -> tuple[tuple[PlannedTie, ...], dict[int, int]]:
    """Return the ties of every `tie` in file order, and of each tensor that they make another's which that is."""
    ties: list[PlannedTie] = []
    groups = _Groups()
    for statement in statements:
        rule, setting = statement.clause.rule, statement.setting
        if not isinstance(rule, Tie):
            continue
        selected = [select_or_report(context, setting, operand, findings) for operand in rule.operands]
        operands = [matches for matches in selected if matches is not None]
        if len(operands) < len(selected):
            continue
        try:
            for group in _groups(operands):
                ties += _tie(context, rule, group, groups, findings)
            if all(operands) and sum(map(len, operands)) < 2:
                raise EvalError("there is nothing to tie this to", rule.span, "name another operand", "tie-alone")
        except EvalError as error:
            findings.append(finding_of(context, error, rule.source))
    return tuple(ties), groups.tied_to


@dataclass
class _Groups:
    """Which tensors are tied so far: `tied_to` says of each which it becomes, `members` of that one which become it."""

    tied_to: dict[int, int] = field(default_factory=dict)
    members: dict[int, list[int]] = field(default_factory=dict)

    def first(self, tensor: int) -> int:
        return self.tied_to.get(tensor, tensor)

    def join(self, a: int, b: int) -> tuple[int, ...]:
        """Make `b`, and all that become it, become `a`; return them."""
        joined = [b, *self.members.pop(b, ())]
        self.members.setdefault(a, []).extend(joined)
        self.tied_to.update(dict.fromkeys(joined, a))
        return tuple(joined)


def _groups(operands: list[list[Match]]) -> Iterator[list[Match]]:
    """Yield matches that are tied together: all of them, or those with the same block and the same bound indices."""
    bound = [{name for name, _ in match.bindings} for matches in operands for match in matches]
    shared = set.intersection(*bound) if bound else set()
    groups: dict[object, list[Match]] = {}
    for matches in operands:
        for match in matches:
            bindings = tuple((name, value) for name, value in match.bindings if name in shared)
            groups.setdefault((match.frame.module if match.frame else None, bindings), []).append(match)
    yield from groups.values()


def _tie(
    context: Context, rule: Tie, group: list[Match], groups: _Groups, findings: list[Diagnostic]
) -> Iterator[PlannedTie]:
    """Yield the ties of every parameter of a group, and note them in `groups`; a mismatch is a finding.

    Raises EvalError for pieces of parameters.
    """
    if len(group) < 2:
        return
    first = state_of_match(context, group[0])
    for other in group[1:]:
        names = state_of_match(context, other)
        mismatch = _mismatch(context, rule, group[0], other, first.keys(), names.keys())
        if mismatch is not None:
            findings.append(finding_of(context, mismatch, rule.source))
            return
        if not first and group[0].tensor is None:
            findings.append(nothing_to_do(context, rule.source, rule.operands[0], group[0], "tie"))
            return
        for name in first:
            try:
                yield _join(context, rule, first[name], names[name], groups)
            except EvalError as error:
                findings.append(finding_of(context, error, rule.source))


def _mismatch(
    context: Context, rule: Tie, one: Match, other: Match, names: Set[str], others: Set[str]
) -> EvalError | None:
    """Return why two matches, of parameters with these names, can't be tied; None where they can."""
    if (one.tensor is None) != (other.tensor is None):
        return EvalError("a module can't be tied to a parameter", rule.span, name="tie-mismatch")
    if names == others:
        return None
    missing, extra = sorted(names - others), sorted(others - names)
    parts = [f"the first has {listed(missing)}"] if missing else []
    parts += [f"the other has {listed(extra)}"] if extra else []
    labels = f"`{match_label(context, one)}` and `{match_label(context, other)}`"
    message = f"{labels} don't have the same parameters and buffers: {', '.join(parts)}"
    return EvalError(message, rule.span, "tie one parameter: `tie A.weight B.weight`", "tie-mismatch")


def _join(context: Context, rule: Tie, first: int, other: int, groups: _Groups) -> PlannedTie:
    """Return the tie of two tensors, and note it in `groups`. Raises EvalError where they can't be one."""
    network = context.network
    a, b = groups.first(first), groups.first(other)
    if a == b:
        return PlannedTie(rule, a, (), _names(network, dict.fromkeys((a, first, other))))
    problem = _difference(network.tensors[a], network.tensors[b])
    if problem is not None:
        raise EvalError(problem, rule.span, name="tie-mismatch")
    joined = groups.join(a, b)
    return PlannedTie(rule, a, joined, _names(network, (a, *joined)))


def _names(network: Network, tensors: Iterable[int]) -> tuple[str, ...]:
    """Return every name of some tensors, each once."""
    return tuple(dict.fromkeys(name for index in tensors for name in network.names(network.tensors[index])))


def _difference(x: TensorInfo, y: TensorInfo) -> str | None:
    """Return why two tensors can't be tied; None where they can."""
    if problem := _untieable(x) or _untieable(y):
        return problem
    if x.shape != y.shape:
        return f"{describe_tensor(x)} and {describe_tensor(y)} differ in shape"
    if x.dtype != y.dtype:
        return f"`{x.name}` is {x.dtype} and `{y.name}` is {y.dtype}"
    if x.kind != y.kind:
        return f"`{x.name}` is a {x.kind} and `{y.name}` a {y.kind}"
    return None


def _untieable(tensor: TensorInfo) -> str | None:
    """Return why a tensor can't be tied to any other; None where it can."""
    if tensor.kind == "parametrized":
        return f"`{tensor.label}` is computed by a parametrization and can't be tied"
    if tensor.sharded:
        return f"`{tensor.label}` is sharded already: tie before sharding"
    if tensor.problem == "lazy":
        return f"`{tensor.label}` has no shape yet: run a forward pass first"
    return None
