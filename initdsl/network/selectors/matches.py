"""What a selector selects: modules and tensors, with the indices it binds, as plain values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from initdsl.language.syntax.nodes import Index, Maybe, Path, Selector, View
from initdsl.network.description import Network
from initdsl.text.diagnostic import Fix
from initdsl.text.source import Span

__all__ = ["Bindings", "Frame", "Match", "Scope", "Unmatched", "continued", "merge"]


# bound indices by name, sorted: `(("i", 3), ("j", 0))`
Bindings = tuple[tuple[str, int], ...]


# modules, by index, whose attributes an expression may read after the owner's; inner ones first
Scope = tuple[int, ...]


class Match(NamedTuple):
    """A module, or (with `tensor`) a tensor of it: `Match(3, tensor=5, bindings=(("i", 0),))`.

    `module` and `tensor` are indices in the model. `frame` is the match of the enclosing block that this one lies
    in. `index` and `view` lead to a piece of the tensor.
    """

    module: int
    tensor: int | None = None
    bindings: Bindings = ()
    scope: Scope = ()
    frame: Match | None = None
    index: Index | None = None  # type: ignore[assignment]  # not tuple.index
    view: View | None = None


@dataclass(frozen=True, init=False)
class Frame:
    """The modules that a block stands for: `Frame(model, [Match(1), Match(4)])` for `Linear { ... }`.

    The model is not kept: matches are of the model that they are used with.
    """

    matches: tuple[Match, ...]

    def __init__(self, network: Network, matches: Iterable[Match]):
        object.__setattr__(self, "matches", tuple(matches))


@dataclass(frozen=True)
class Unmatched:
    """Why a selector selects nothing: ``Unmatched("there is no `q` in `net`", span, "did you mean `k`?")``.

    A warning where the class is simply not in this model. `fix` changes the selector to the one that was meant.
    """

    message: str
    span: Span
    hint: str | None
    name: str = "unmatched-selector"
    warning: bool = False
    fix: Fix | None = None


def merge(a: Bindings, b: Bindings) -> Bindings | None:
    """Return both bindings together, or None where one name is bound to two indices."""
    if not a or not b or a == b:
        return a or b
    joined = dict(a)
    for name, value in b:
        if joined.setdefault(name, value) != value:
            return None
    return tuple(sorted(joined.items()))


def continued(container: Selector, frame: Frame | None) -> Frame | None:
    """Return the block that a selector behind `in` continues: `frame` if it starts with a dot, else None."""
    if isinstance(container, Maybe):
        container = container.selector
    return frame if isinstance(container, Path) and container.root is None else None
