"""A rule file as lints see it: its statements where they stand, with those of used files between them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from initdsl.language.syntax.nodes import Assign, Block, Call, Default, Keep, Let, Name, Node, Rule, Use
from initdsl.language.syntax.walk import children, walk
from initdsl.text.diagnostic import Diagnostic, Edit, Fix, Label
from initdsl.text.source import Source, Span

from .targets import Target, continued, is_piece, targets_of

__all__ = ["File", "Placed", "Scope", "label"]


@dataclass(slots=True)
class Scope:
    """The `let` names of a body, each with the order of its statement; `outer` is the body around it."""

    outer: Scope | None = None
    names: dict[str, list[tuple[int, Let]]] = field(default_factory=dict)

    def find(self, name: str, before: int) -> Let | None:
        """The `let` a name means to the statement of order `before`."""
        scope: Scope | None = self
        while scope is not None:
            there = scope.names.get(name, ())
            at = bisect_left(there, before, key=lambda entry: entry[0])
            if at:
                return there[at - 1][1]
            scope = scope.outer
        return None


@dataclass(frozen=True, eq=False)
class Placed:
    """A statement where it stands: the blocks around it, its order in the whole, its `let` names.

    `here` is false for a statement that came with a `use`.
    """

    rule: Rule
    blocks: tuple[Block, ...]
    order: int
    scope: Scope
    source: Source
    here: bool
    outer: tuple[Target, ...] | None

    @cached_property
    def targets(self) -> tuple[Target, ...] | None:
        """What the statement selects, the blocks around it included; `None` where that can't be told."""
        selector = getattr(self.rule, "targets", None)
        return None if selector is None else targets_of(selector, self.outer)

    @cached_property
    def sets_base(self) -> bool:
        """Whether it discards what earlier rules did to all it selects."""
        rule = self.rule
        if isinstance(rule, Keep | Default):
            return True
        if not isinstance(rule, Assign) or self.targets is None or self.reads_target:
            return False
        return rule.operator in ("~", "=") and not any(is_piece(t.base) for t in self.targets)

    @cached_property
    def reads_target(self) -> bool:
        """Whether the value may read what is there: `it`, or the parameter by its name."""
        rule = self.rule
        if not isinstance(rule, Assign):
            return False
        last = {t.name for t in self.targets or ()}
        for node in walk(rule.value):
            if isinstance(node, Name) and (node.name in ("it", "net") or node.name in last or None in last):
                return True
        return False

    @property
    def on_top(self) -> bool:
        """Whether it runs on top of a base: an edit, or an assignment to a piece."""
        return isinstance(self.rule, Assign) and not self.sets_base and self.targets is not None

    def lookup(self, name: str) -> Let | None:
        """The `let` a name means here."""
        return self.scope.find(name, self.order)


@dataclass(frozen=True, eq=False)
class File:
    """A parsed rule file: its source, its statements, and what was made of the files it uses.

    `initializers` are names that Python code registers, which the file may call.
    """

    source: Source
    rules: tuple[Rule, ...]
    sources: Mapping[str, Source] = field(default_factory=dict)
    initializers: frozenset[str] = frozenset()

    @cached_property
    def everything(self) -> tuple[Placed, ...]:
        """All statements but blocks, in the order of the cascade; those of used files where they are used."""
        return tuple(p for p in self._placed if not isinstance(p.rule, Block))

    @cached_property
    def statements(self) -> tuple[Placed, ...]:
        """The statements of this file itself, but blocks."""
        return tuple(p for p in self.everything if p.here)

    @cached_property
    def blocks(self) -> tuple[Placed, ...]:
        """The blocks of this file itself."""
        return tuple(p for p in self._placed if p.here and isinstance(p.rule, Block))

    @cached_property
    def _placed(self) -> tuple[Placed, ...]:
        return tuple(self._place(self.rules, (), Scope(), True, None, [], None))

    def _place(
        self, rules: tuple[Rule, ...], blocks: tuple[Block, ...], scope: Scope, here: bool,
        outer: tuple[Target, ...] | None, count: list[None], used_at: int | None,
    ) -> Iterator[Placed]:  # fmt: skip
        for rule in rules:
            source = self.source if here else self.sources.get(rule.source) or Source(rule.source, "")
            order = len(count)
            count.append(None)
            if isinstance(rule, Let) and (used_at is None or scope.find(rule.name, used_at) is None):
                scope.names.setdefault(rule.name, []).append((order, rule))
            placed = Placed(rule, blocks, order, scope, source, here, outer if blocks else None)
            yield placed
            if isinstance(rule, Use) and rule.rules:
                yield from self._place(
                    rule.rules, blocks, scope, False, outer, count, order if used_at is None else used_at
                )
            elif isinstance(rule, Block):
                inner = targets_of(rule.targets, outer if blocks else None)
                yield from self._place(
                    rule.rules,
                    (*blocks, rule),
                    Scope(scope),
                    here,
                    inner if inner is not None else continued,
                    count,
                    None,
                )

    @cached_property
    def calls(self) -> tuple[tuple[Placed, Call], ...]:
        """Every call in this file, with the statement it stands in; selectors' own expressions included."""
        found = []
        for placed in self._placed:
            if not placed.here:
                continue
            found += [(placed, node) for root in _parts(placed.rule) for node in walk(root) if isinstance(node, Call)]
        return tuple(found)

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Every node of this file's statements, those inside blocks included once."""
        found: list[Node] = []
        for placed in self._placed:
            if placed.here:
                found += [node for root in _parts(placed.rule) for node in walk(root)]
        return tuple(found)

    @property
    def first_line(self) -> Span:
        """Where a finding stands that is about the file as a whole."""
        return Span(0, len(self.source.line(1)) if self.source.text else 0)

    def text(self, node: Node) -> str:
        """The characters of a node of this file."""
        return self.source[node.span]

    def finding(
        self, place: Any, message: str, hint: str | None = None, fix: Fix | None = None, labels: tuple[Label, ...] = ()
    ) -> Diagnostic:
        """A finding at a node or span of this file; the lint's name is added where it is run."""
        span = place if isinstance(place, Span) else place.span
        return Diagnostic("", message, self.source, span, hint, "warning", labels, fix)

    def replacement(self, place: Any, text: str, title: str, safe: bool) -> Fix:
        """The fix that writes `text` in place of a node or span."""
        return Fix(title, (Edit(place if isinstance(place, Span) else place.span, text),), safe)


def _parts(rule: Rule) -> list[Node]:
    """What a statement itself is made of: not the statements in a block, nor those of a used file."""
    if isinstance(rule, Block):
        return [rule.targets]
    return [] if isinstance(rule, Use) else children(rule)


def label(placed: Placed, text: str) -> Label:
    """A second place: another statement."""
    return Label(placed.source, placed.rule.span, text)
