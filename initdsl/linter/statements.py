"""The statements of a rule file where they stand: in which blocks, below which `let`s, with those of used files between them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

from initdsl.language.syntax.nodes import Assign, Block, Default, Keep, Let, Name, Node, Rule, Selector, Use
from initdsl.language.syntax.walk import walk
from initdsl.text.diagnostic import Label
from initdsl.text.source import Source

from .targets import UNTOLD, Target, is_piece, targets_of

__all__ = ["Placed", "Scope", "label", "place_statements", "selector_of", "selectors_around"]


@dataclass(frozen=True, slots=True)
class Scope:
    """The `let` names of a body (a file, or a block): of `let std = 0.02`, under `std`, its order and the statement.

    `outer` is the body around it.
    """

    outer: Scope | None
    lets: Mapping[str, Sequence[tuple[int, Let]]]

    def find(self, name: str, order: int) -> tuple[int, Let] | None:
        """Return the `let`, with its order, that a name means to the statement of this order."""
        scope: Scope | None = self
        while scope is not None:
            declared = scope.lets.get(name, ())
            place = bisect_left(declared, order, key=lambda entry: entry[0])
            if place:
                return declared[place - 1]
            scope = scope.outer
        return None


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A statement where it stands: `.weight ~ normal()` inside `net.head { ... }`.

    `order` counts the statements of the file and of those it uses; `here` is false for one that came with a `use`, and
    `source` is the text it stands in. `targets` are what it selects, the blocks around it included, `None` where the
    text can't tell; `outer` are those of the innermost block, `None` outside of blocks.
    """

    rule: Rule
    source: Source
    here: bool
    order: int
    blocks: tuple[Block, ...]
    scope: Scope
    outer: tuple[Target, ...] | None
    targets: tuple[Target, ...] | None
    reads_target: bool  # its value may read what is there: `it`, or the parameter by its name
    sets_base: bool  # it discards what earlier rules did to all it selects

    @property
    def on_top(self) -> bool:
        """Whether it runs on top of a base: an edit, or an assignment to a piece."""
        return isinstance(self.rule, Assign) and not self.sets_base and self.targets is not None

    def lookup(self, name: str) -> Let | None:
        """Return the `let` that a name means here."""
        declared = self.scope.find(name, self.order)
        return None if declared is None else declared[1]


@dataclass(frozen=True, slots=True)
class _Body:
    """Where the statements of a body stand. `names` is what `scope` reads, and is filled while the body is gone through.

    `used_at` is the order of the `use` that brought the body in, `None` in the file itself and in blocks.
    """

    blocks: tuple[Block, ...]
    scope: Scope
    names: dict[str, list[tuple[int, Let]]]
    here: bool
    outer: tuple[Target, ...] | None
    used_at: int | None


def place_statements(source: Source, rules: tuple[Rule, ...], sources: Mapping[str, Source]) -> tuple[Placed, ...]:
    """Return all statements in the order of the cascade: blocks before what is in them, `use` before what it brings in.

    `sources` are the texts of used files by name.
    """
    names: dict[str, list[tuple[int, Let]]] = {}
    body = _Body((), Scope(None, names), names, True, None, None)
    return tuple(_placed(rules, body, source, sources, count()))


def _placed(
    rules: tuple[Rule, ...], body: _Body, source: Source, sources: Mapping[str, Source], orders: Iterator[int]
) -> Iterator[Placed]:
    for rule in rules:
        order = next(orders)
        # the `let` of a used file is a default: one above the `use` counts
        if isinstance(rule, Let) and (body.used_at is None or body.scope.find(rule.name, body.used_at) is None):
            body.names.setdefault(rule.name, []).append((order, rule))
        text = source if body.here else sources.get(rule.source) or Source(rule.source, "")
        placed = _place(rule, body, text, order)
        yield placed
        if isinstance(rule, Use) and rule.rules:
            inner = replace(body, here=False, used_at=order if body.used_at is None else body.used_at)
            yield from _placed(rule.rules, inner, source, sources, orders)
        elif isinstance(rule, Block):
            names: dict[str, list[tuple[int, Let]]] = {}
            targets = UNTOLD if placed.targets is None else placed.targets
            inner = _Body((*body.blocks, rule), Scope(body.scope, names), names, body.here, targets, None)
            yield from _placed(rule.rules, inner, source, sources, orders)


def _place(rule: Rule, body: _Body, source: Source, order: int) -> Placed:
    selector = selector_of(rule)
    targets = None if selector is None else targets_of(selector, body.outer)
    reads = isinstance(rule, Assign) and _may_read(rule.value, targets or ())
    sets_base = isinstance(rule, Keep | Default)
    if isinstance(rule, Assign) and targets is not None and not reads:
        sets_base = rule.operator in ("~", "=") and not any(is_piece(target.base) for target in targets)
    return Placed(rule, source, body.here, order, body.blocks, body.scope, body.outer, targets, reads, sets_base)


def _may_read(value: Node, targets: tuple[Target, ...]) -> bool:
    parameters = {target.name for target in targets}  # None: of any name
    names = {node.name for node in walk(value) if isinstance(node, Name)}
    return bool(names & {"it", "net", *parameters}) or (None in parameters and bool(names))


def selector_of(rule: Rule) -> Selector | None:
    """Return the one selector that a statement is about; `None` for `tie`, `copy` and `expect`, which have operands."""
    return rule.targets if isinstance(rule, Assign | Keep | Default | Block) else None


def selectors_around(placed: Placed) -> list[Selector]:
    """Return the selectors that say what a statement is about: those of the blocks around it, and its own."""
    own = selector_of(placed.rule)
    return [block.targets for block in placed.blocks] + ([] if own is None else [own])


def label(placed: Placed, text: str) -> Label:
    """Return the label of a second place that a finding speaks of: another statement."""
    return Label(placed.source, placed.rule.span, text)
