"""Ties: which tensors become one, checked before any does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from initdsl.language.expressions.shapes import EvalError
from initdsl.language.syntax.nodes import Tie
from initdsl.network.description import TensorInfo, describe_tensor
from initdsl.network.selectors.matches import Match
from initdsl.text.wording import listed

from .context import Resolution
from .plan import PlannedTie

__all__ = ["plan_ties"]


def plan_ties(resolution: Resolution) -> list[PlannedTie]:
    """The ties of every `tie` statement, in file order; `resolution.canonical` follows them."""
    return _Ties(resolution).plan()


class _Ties:
    def __init__(self, resolution: Resolution):
        self.at = resolution

    def plan(self) -> list[PlannedTie]:
        made: list[PlannedTie] = []
        for rule, lets, frame in self.at.tie_rules:
            self.at.lets = lets
            operands = [self.at.select(operand, rule.source, frame) for operand in rule.operands]
            if any(found is None for found in operands):
                continue
            try:
                for group in _groups([found or [] for found in operands]):
                    made += self._tie(rule, group)
            except EvalError as error:
                self.at.report(error, rule.source)
                continue
            if all(operands) and sum(len(o or ()) for o in operands) < 2:
                self.at.report(
                    EvalError("there is nothing to tie this to", rule.span, "name another operand", "tie-alone"),
                    rule.source,
                )
        return made

    def _tie(self, rule: Tie, group: list[Match]) -> list[PlannedTie]:
        made: list[PlannedTie] = []
        if len(group) < 2:
            return made
        first = self.at.named(group[0])
        for other in group[1:]:
            names = self.at.named(other)
            if (group[0].tensor is None) != (other.tensor is None):
                self.at.report(
                    EvalError("a module can't be tied to a parameter", rule.span, name="tie-mismatch"), rule.source
                )
                return made
            if set(first) != set(names):
                missing, extra = sorted(set(first) - set(names)), sorted(set(names) - set(first))
                parts = [
                    f"the first has {listed(missing)}" if missing else "",
                    f"the other has {listed(extra)}" if extra else "",
                ]
                self.at.report(
                    EvalError(
                        f"`{self.at.shown(group[0])}` and `{self.at.shown(other)}` don't have the same parameters: {', '.join(p for p in parts if p)}",
                        rule.span, "tie one parameter: `tie A.weight B.weight`", "tie-mismatch",
                    ),
                    rule.source,
                )  # fmt: skip
                return made
            for name in first:
                planned = self._join(rule, first[name], names[name])
                if planned is not None:
                    made.append(planned)
        return made

    def _join(self, rule: Tie, first: int, other: int) -> PlannedTie | None:
        a, b = self.at.tied_to.get(first, first), self.at.tied_to.get(other, other)
        infos = self.at.network.tensors
        group = dict.fromkeys([a, b, *(i for i, canonical in self.at.tied_to.items() if canonical in (a, b))])
        names = tuple(dict.fromkeys(name for i in group for name in self.at.network.names(infos[i])))
        if a == b:
            return PlannedTie(rule, a, (), names)
        x, y = infos[a], infos[b]
        where = rule.source
        if problem := self._untieable(x) or self._untieable(y):
            self.at.report(EvalError(problem, rule.span, name="tie-mismatch"), where)
            return None
        if x.shape != y.shape:
            self.at.report(
                EvalError(
                    f"{describe_tensor(x)} and {describe_tensor(y)} differ in shape", rule.span, name="tie-mismatch"
                ),
                where,
            )
            return None
        if x.dtype != y.dtype:
            self.at.report(
                EvalError(f"`{x.name}` is {x.dtype} and `{y.name}` is {y.dtype}", rule.span, name="tie-mismatch"), where
            )
            return None
        if x.kind != y.kind:
            self.at.report(
                EvalError(f"`{x.name}` is a {x.kind} and `{y.name}` a {y.kind}", rule.span, name="tie-mismatch"), where
            )
            return None
        joined = (b, *(index for index, canonical in self.at.tied_to.items() if canonical == b))
        for index in joined:
            self.at.tied_to[index] = a
        return PlannedTie(rule, a, joined, names)

    def _untieable(self, tensor: TensorInfo) -> str | None:
        if tensor.kind == "parametrized":
            return f"`{tensor.name}` is computed by a parametrization and can't be tied"
        if tensor.kind == "buffer":
            return f"`{tensor.name}` is a buffer and can't be tied"
        if tensor.sharded:
            return f"`{tensor.name}` is sharded already: tie before sharding"
        if tensor.problem == "lazy":
            return f"`{tensor.name}` has no shape yet: run a forward pass first"
        return None


def _groups(operands: list[list[Match]]) -> Iterator[list[Match]]:
    """Matches that are tied together: all of them, or those with the same block and the same bound indices."""
    shared: set[str] | None = None
    for found in operands:
        for match in found:
            names = {name for name, _ in match.bindings}
            shared = names if shared is None else shared & names
    groups: dict[Any, list[Match]] = {}
    for found in operands:
        for match in found:
            bound = tuple((n, v) for n, v in match.bindings if n in (shared or ()))
            groups.setdefault((match.frame.module if match.frame else None, bound), []).append(match)
    yield from groups.values()
