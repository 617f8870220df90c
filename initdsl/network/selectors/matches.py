"""What a selector selects: modules and tensors with the indices they bind."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from initdsl.language.syntax.nodes import Index, Maybe, Path, Selector, View
from initdsl.network.description import Network
from initdsl.text.source import Span

__all__ = ["FACTS", "Frame", "Match", "State", "Unmatched", "continued", "merge"]


@dataclass(slots=True, eq=False)
class Match:
    """One thing a selector selects: a module, or (with `tensor`) a tensor as one of its owner's.

    `bindings` are the bound indices; `scope` the modules whose attributes an expression may read after the owner's,
    inner first; `frame` the match of the enclosing block it belongs to. `index` and `view` lead to a piece.
    """

    module: int
    tensor: int | None = None
    bindings: tuple[tuple[str, int], ...] = ()
    scope: tuple[int, ...] = ()
    frame: Match | None = None
    index: Index | None = None
    view: View | None = None


class Frame:
    """The modules a block's selector selected, and which of them a module lies in."""

    def __init__(self, network: Network, matches: list[Match]):
        self.network = network
        self.matches = matches
        self._places: dict[int, list[int]] = {}
        self._inside: dict[int, list[Match]] = {}
        for place, match in enumerate(matches):
            self._places.setdefault(match.module, []).append(place)

    @cached_property
    def below(self) -> list[int]:
        """The modules that lie in one of the block's matches."""
        return self.network.reachable(*self._places)

    def inside(self, module: int) -> list[Match]:
        """The block's matches that a module lies in, in their order."""
        found = self._inside.get(module)
        if found is None:
            above = self.network.ancestors(module)
            places = sorted(place for index in above for place in self._places.get(index, ()))
            found = self._inside[module] = [self.matches[place] for place in places]
        return found


@dataclass(frozen=True)
class Unmatched:
    """Why a selector selects nothing; a warning where the class is simply not in this network."""

    message: str
    span: Span
    hint: str | None
    name: str = "unmatched-selector"
    warning: bool = False


@dataclass(slots=True)
class State:
    """A place a path has reached."""

    module: int
    tensor: int | None
    bindings: tuple[tuple[str, int], ...]
    root: int | None
    frame: Match | None
    index: Index | None = None


def merge(a: tuple[tuple[str, int], ...], b: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...] | None:
    """Both bindings together, or `None` where they contradict each other."""
    if not a or not b or a == b:
        return a or b
    joined = dict(a)
    for name, value in b:
        if joined.setdefault(name, value) != value:
            return None
    return tuple(sorted(joined.items()))


FACTS = ("ndim", "numel", "shape", "dtype", "requires_grad")


def continued(container: Selector, frame: Frame | None) -> Frame | None:
    """The block that a selector behind `in` belongs to: only what starts with a dot continues one."""
    if isinstance(container, Maybe):
        container = container.selector
    return frame if isinstance(container, Path) and container.root is None else None
