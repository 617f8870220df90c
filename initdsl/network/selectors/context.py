"""What every step of matching needs: the network, what names mean, and what was matched before."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from initdsl.language.expressions.operators import Environment
from initdsl.language.syntax.nodes import ClassPattern, Index, Selector
from initdsl.network.description import Network
from initdsl.text.source import Span

from .matches import Bindings, Frame, Match, Scope

__all__ = ["BlockModules", "MatchCache", "MatchKey", "SelectorContext", "State", "block_of", "matches_around"]


# a selector, whether a regex in it searches modules, and where its nodes stand if that matters
MatchKey = tuple[Selector, bool, tuple[Span, ...]]


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


@dataclass
class MatchCache:
    """What was matched before in this network. It saves time and never changes a result; one thread's own."""

    matches: dict[MatchKey, list[Match]] = field(default_factory=dict)
    by_module: dict[tuple[Selector, bool], dict[int, list[int]]] = field(default_factory=dict)
    classes: dict[ClassPattern, list[int]] = field(default_factory=dict)
    by_attribute: dict[tuple[str, bool, str], dict[float, list[int]]] = field(default_factory=dict)
    regexes: dict[str, re.Pattern[str]] = field(default_factory=dict)
    indexed: dict[int, list[tuple[int, str]]] = field(default_factory=dict)
    places: dict[int, tuple[str, ...]] = field(default_factory=dict)
    blocks: dict[tuple[int, ...], BlockModules] = field(default_factory=dict)


@dataclass(frozen=True)
class SelectorContext:
    """The network that selectors are matched against.

    `environment(module, bindings, scope)` gives names in predicates and indices their values; `is_variable` tells the
    names of `let`, which can't be bound; `binds` is false inside expressions, where an index is evaluated, never bound.
    """

    network: Network
    environment: Callable[[int, Bindings, Scope], Environment]
    is_variable: Callable[[str], bool]
    cache: MatchCache
    binds: bool = True


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


def matches_around(context: SelectorContext, block: BlockModules, module: int) -> list[int]:
    """Return where the matches of a block that a module lies in stand, in their order."""
    around = block.around.get(module)
    if around is None:
        positions = block.positions
        above = context.network.ancestors(module)
        around = sorted([position for index in above for position in positions.get(index, ())])
        block.around[module] = around
    return around
