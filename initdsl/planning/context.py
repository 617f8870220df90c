"""What one resolution shares: the rules, the network, selectors evaluated, findings collected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from typing import Any

from initdsl.initializers import Registry
from initdsl.language.expressions.let import Lets
from initdsl.language.expressions.shapes import EvalError
from initdsl.language.rules.ruleset import RuleSet
from initdsl.language.syntax import nodes
from initdsl.language.syntax.nodes import Expect, Selector, Tie
from initdsl.network.description import Network, child_label
from initdsl.network.selectors.matcher import Matcher
from initdsl.network.selectors.matches import Frame, Match, continued
from initdsl.text.diagnostic import Diagnostic

from .actions import Clause
from .loads import Files
from .names import Names

__all__ = ["Resolution"]


class Resolution:
    """One resolution: findings go to `problems` (errors), `warnings` and `notes`.

    `canonical` maps a tensor that a tie made another's to that other; `lets` are those of the statement at hand.
    """

    def __init__(self, rules: RuleSet, network: Network, registry: Registry, variables: Mapping[str, Any]):
        self.rules = rules
        self.network = network
        self.registry = registry
        self.variables = dict(variables)
        self.files = Files(rules)
        self.seed: int | None = None
        self.problems: list[Diagnostic] = []
        self.warnings: list[Diagnostic] = []
        self.notes: list[Diagnostic] = []
        self.clauses: list[Clause] = []
        self.tie_rules: list[tuple[Tie, Lets, Frame | None]] = []
        self.expect_rules: list[tuple[Expect, Lets, Frame | None]] = []
        self.canonical: dict[int, int] = {}
        self.lets = Lets()
        self.matcher = Matcher(network, self.environment, lambda name: name in self.lets)

    def apart(self) -> Resolution:
        """The same for another thread: names mean what they mean here, and neither sees the other's statement at hand."""
        other = copy(self)
        other.lets = Lets()
        other.matcher = Matcher(self.network, other.environment, lambda name: name in other.lets)
        return other

    def environment(self, module: int, bindings: tuple[tuple[str, int], ...], scope: tuple[int, ...]) -> Names:
        match = Match(module, None, bindings, scope)
        return Names(self.network, self.matcher, self.registry, self.lets, match, None, None, self.canonical)

    def report(self, error: EvalError, source: str) -> None:
        where = self.rules.source(source)
        self.problems.append(Diagnostic(error.name, error.message, where, error.span, error.hint))

    def select(self, selector: Selector, source: str, frame: Frame | None) -> list[Match] | None:
        """The matches; empty with a finding where the language wants one; `None` after an error."""
        try:
            found = self.matcher.select(selector, frame)
            for reason in self.unmatched(selector, found, frame):
                where = self.rules.source(source)
                severity: Any = "warning" if reason.warning else "error"
                finding = Diagnostic(reason.name, reason.message, where, reason.span, reason.hint, severity)
                (self.warnings if reason.warning else self.problems).append(finding)
            return found
        except EvalError as error:
            self.report(error, source)
            return None

    def unmatched(self, selector: Selector, found: list[Match], frame: Frame | None) -> Iterator[Any]:
        if isinstance(selector, nodes.Union_):
            for member in selector.members:
                yield from self.unmatched(member, self.matcher.select(member, frame), frame)
        elif not found:
            yield from self.matcher.explain(selector, frame)
        elif isinstance(selector, nodes.Within):
            yield from self.unmatched(selector.selector, self.matcher.select(selector.selector, frame), frame)
            yield from self._containers(selector.container, frame)

    def _containers(self, selector: Selector, frame: Frame | None) -> Iterator[Any]:
        """The parts of what stands behind an `in` that select nothing."""
        if isinstance(selector, nodes.Union_):
            for member in selector.members:
                yield from self._containers(member, frame)
        elif not self.matcher.container(selector, frame):
            yield from self.matcher.explain(selector, continued(selector, frame), True)

    def shown(self, match: Match) -> str:
        module = self.network.modules[match.module]
        if match.tensor is None:
            return module.label
        local = next(local for owner, local in self.network.tensors[match.tensor].owners if owner == match.module)
        return child_label(module, local)

    def named(self, match: Match) -> dict[str, int]:
        """The parameters of a match by the name relative to it."""
        if match.index is not None or match.view is not None:
            piece = match.index or match.view
            assert piece is not None
            raise EvalError("a slice is part of a parameter, this takes whole ones", piece.span, name="bad-index")
        if match.tensor is not None:
            return {"": match.tensor}
        base = self.network.modules[match.module]
        found: dict[str, int] = {}
        prefix = {base.index: ""}
        for index in self.network.reachable(base.index):
            module = self.network.modules[index]
            for name, child in module.children.items():
                prefix.setdefault(child, f"{prefix[index]}{name}.")
            for name, tensor in module.parameters.items():
                found[f"{prefix[index]}{name}"] = tensor
        return found
