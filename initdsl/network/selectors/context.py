"""What every step of matching needs: the model, what names mean, and what was matched before."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from initdsl.language.expressions.operators import Environment
from initdsl.language.expressions.shapes import EvalError
from initdsl.language.syntax.nodes import ClassPattern, Index
from initdsl.network.description import Network
from initdsl.text.source import Span

from .matches import Bindings, Frame, Match, Scope

__all__ = [
    "BlockModules",
    "MatchCache",
    "MatchKey",
    "Reads",
    "SelectorContext",
    "State",
    "TooManyMatches",
    "block_of",
    "is_nested",
    "matches_around",
]


@dataclass(frozen=True)
class Reads:
    """What a statement makes of the modules and indices on the way to a tensor: `Reads(frozenset(["d"]))`.

    `names` may be attributes of modules around, or bound indices; `once` are those of them that one index binds and
    nothing reads. `modules`: which modules are around matters by itself, as in a `tie`. Matches that differ in nothing of
    it do the same, and one of them is enough.
    """

    names: frozenset[str] = frozenset()
    once: frozenset[str] = frozenset()
    modules: bool = False


# what stands for a selector, whether a regex in it searches modules, where its nodes stand and what is made of matches if
# that matters
MatchKey = tuple[object, bool, tuple[Span, ...], Reads | None]


class State(NamedTuple):
    """Where a path has arrived: a module, or a tensor of it.

    `root` is the module of the class that the path started from, `piece` an index into the tensor.
    """

    module: int
    tensor: int | None
    bindings: Bindings
    root: int | None
    frame: Match | None
    piece: Index | None = None


@dataclass
class BlockModules:
    """Which matches of a block are around a module, filled in as modules are asked for."""

    positions: dict[int, list[int]]  # of each module of the block: where it stands among the block's matches
    around: dict[int, list[int]]  # of a module inside the block: where the matches it lies in stand
    below: list[int] | None = None  # every module inside the block
    nested: bool | None = None  # whether a match of the block lies inside another


class TooManyMatches(EvalError):
    """A selector that matches in too many ways, alone or with those before it."""

    def __init__(self, most: int, span: Span):
        message = f"up to here, selectors match in more than {most:,} ways"
        hint = (
            "wildcards and blocks inside each other multiply: name the modules that are meant, or take some of them out"
        )
        super().__init__(message, span, hint, "too-many-matches")


# matches that are kept to be looked up again; more are made anew each time
MOST_KEPT = 1 << 22


@dataclass
class MatchCache:
    """What was matched before in this model. It saves time and never changes a result; one thread's own.

    `most` matches may be made in all, and `count` are by now.
    """

    matches: dict[MatchKey, list[Match]] = field(default_factory=dict)
    by_module: dict[MatchKey, dict[int, list[int]]] = field(default_factory=dict)
    classes: dict[ClassPattern, list[int]] = field(default_factory=dict)
    by_attribute: dict[tuple[str, bool, str], dict[float, list[int]]] = field(default_factory=dict)
    regexes: dict[str, re.Pattern[str]] = field(default_factory=dict)
    indexed: dict[int, list[tuple[int, str]]] = field(default_factory=dict)
    places: dict[int, tuple[str, ...]] = field(default_factory=dict)
    blocks: dict[tuple[int, ...], BlockModules] = field(default_factory=dict)
    most: int = 1 << 28
    count: int = 0
    kept: int = 0

    def spend(self, count: int, span: Span) -> None:
        """Count matches that are made, and other work that a selector takes. Raises TooManyMatches at `span`."""
        self.count += count
        if self.count > self.most:
            raise TooManyMatches(self.most, span)

    def keep(self, key: MatchKey, matches: list[Match]) -> None:
        """Keep the matches of a selector, while there is room."""
        self.kept += len(matches)
        if self.kept <= MOST_KEPT:
            self.matches[key] = matches


@dataclass(frozen=True)
class SelectorContext:
    """The model that selectors are matched against.

    `environment(module, bindings, scope)` gives names in predicates and indices their values; `is_variable` tells the
    names of `let`, which can't be bound; `binds` is false inside expressions, where an index is evaluated, never bound.
    `reads` returns what is made of the matches, None where that may be anything; `span` is blamed for too many of them.
    """

    network: Network
    environment: Callable[[int, Bindings, Scope], Environment]
    is_variable: Callable[[str], bool]
    cache: MatchCache
    binds: bool = True
    reads: Callable[[], Reads | None] = lambda: None
    span: Span = Span(0, 0)

    def spend(self, count: int) -> None:
        """Count matches that are made. Raises TooManyMatches."""
        self.cache.spend(count, self.span)


def block_of(context: SelectorContext, frame: Frame) -> BlockModules:
    """Return the look-ups of a block, the same ones for every block of the same modules."""
    modules = tuple([match.module for match in frame.matches])
    block = context.cache.blocks.get(modules)
    if block is None:
        positions: dict[int, list[int]] = {}
        for position, module in enumerate(modules):
            positions.setdefault(module, []).append(position)
        block = context.cache.blocks[modules] = BlockModules(positions, {})
    return block


def is_nested(context: SelectorContext, block: BlockModules) -> bool:
    """Return whether a match of a block lies inside another, so that what is inside both is met twice."""
    if block.nested is None:
        positions = block.positions
        block.nested = any(len(places) > 1 for places in positions.values())
        if not block.nested and len(positions) > 1:
            # what is below every module of the block: if that is met again, one is below another
            below = context.network.reachable(
                *[c for m in positions for c in context.network.modules[m].children.values()]
            )
            block.nested = any(module in positions for module in below)
    return block.nested


def matches_around(context: SelectorContext, block: BlockModules, module: int) -> list[int]:
    """Return where the matches of a block that a module lies in stand, in their order."""
    around = block.around.get(module)
    if around is None:
        positions = block.positions
        above = list(context.network.ancestors(module))
        context.spend(len(above))
        around = sorted([position for index in above for position in positions.get(index, ())])
        block.around[module] = around
    return around
