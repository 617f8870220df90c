"""What one resolution shares: the rules, the network, selectors evaluated, findings collected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from initdsl.initializers import Registry
from initdsl.language.expressions.let import Lets
from initdsl.language.expressions.shapes import EvalError
from initdsl.language.rules.ruleset import RuleSet
from initdsl.language.syntax import nodes
from initdsl.language.syntax.nodes import Assign, Call, Copy, Default, Expect, Keep, Selector, Tie
from initdsl.network.description import Network, child_label
from initdsl.network.selectors.matcher import Matcher
from initdsl.network.selectors.matches import Frame, Match, continued
from initdsl.text.diagnostic import Diagnostic
from initdsl.text.source import Span

from .actions import Clause
from .loads import Files
from .names import Names

__all__ = ["Resolution", "Statement"]


@dataclass(frozen=True, slots=True)
class Statement:
    """A clause where it stands: the `let` names it sees, and the block it is in."""

    clause: Clause
    lets: Lets
    frame: Frame | None


class Resolution:
    """One resolution: findings go to `problems` (errors), `warnings` and `notes`.

    `tied_to` maps a tensor that a tie made another's to that other; `lets` are those of the statement at hand.
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
        self.statements: list[Statement] = []
        self.tie_rules: list[tuple[Tie, Lets, Frame | None]] = []
        self.expect_rules: list[tuple[Expect, Lets, Frame | None]] = []
        self.tied_to: dict[int, int] = {}
        self.calls: dict[int, Call] = {}  # by statement, the initializer that is all of its right-hand side
        self.lets = Lets()
        self.matcher = Matcher(network, self.environment, lambda name: name in self.lets)

    def environment(self, module: int, bindings: tuple[tuple[str, int], ...], scope: tuple[int, ...]) -> Names:
        match = Match(module, None, bindings, scope)
        return Names(self.network, self.matcher, self.registry, self.lets, match, None, None, self.tied_to)

    def clause(self, rule: Assign | Keep | Default | Copy | Tie, targets: Selector | None) -> Clause:
        """The next statement of the rules, as plans cite it."""
        text = " ".join(self.rules.text(rule.source, rule.span).split())
        location = self.rules.location(rule.source, rule.span)
        return Clause(len(self.statements), rule, targets, text, location, self._effect(rule))

    def _effect(self, rule: Assign | Keep | Default | Copy | Tie) -> str:
        if not isinstance(rule, Assign):
            return {"keep": "kept", "default": "default", "copy": "copied", "tie": "tied"}[rule.kind]
        return " ".join(self.rules.text(rule.source, Span(rule.operator_span.start, rule.span.end)).split())

    def effect(self, clause: Clause, match: Match) -> str:
        """What a clause does to one of its matches, in short."""
        piece = match.view or match.index
        if piece is None or not isinstance(clause.rule, Assign):
            return clause.effect
        text = self.rules.text(clause.rule.source, piece.span)
        return f"as {text} {clause.effect}" if match.view is not None else f"{text} {clause.effect}"

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

    def one(self, tensor: int | None) -> int | None:
        """The tensor that a tie makes this one."""
        return None if tensor is None else self.tied_to.get(tensor, tensor)

    def expanded(self, matches: list[Match]) -> Iterator[Match]:
        """Modules as the parameters at any depth below them."""
        for match in matches:
            if match.tensor is not None:
                yield match
                continue
            for index in self.network.reachable(match.module):
                for tensor in self.network.modules[index].parameters.values():
                    yield Match(index, tensor, match.bindings, (match.module, *match.scope), match.frame)

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
