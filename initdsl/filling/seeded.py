"""Seeded fills: which stream, and which elements of it, a piece of a tensor takes.

The values of a draw depend on the seed, the parameter's name, the rule and the element's place in the whole parameter.
What stacks on values that are there (`+= normal(0, 1)`) has streams of its own, counted over the drawing edits of that
parameter alone, so that a rule that draws nothing moves nothing.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from initdsl import streams
from initdsl.initializers import Distribution, Random, Uniform
from initdsl.language.syntax.nodes import Call, Name, walk
from initdsl.planning.plan import Action, Draw, Expression

if TYPE_CHECKING:
    import torch

    from initdsl.initializers import Initializer
    from initdsl.language.syntax.nodes import Expr
    from initdsl.planning.plan import Plan, PlanEntry

    from .boxes import Place

__all__ = ["Draws", "Seeded", "draws", "isolated", "nodes_of", "row_major", "window"]


# draws of one edit; the next one's start above them
PER_EDIT = 1 << 20


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a contiguous tensor of this shape, in elements."""
    strides = [1] * len(shape)
    for d in range(len(shape) - 2, -1, -1):
        strides[d] = strides[d + 1] * shape[d + 1]
    return tuple(strides)


def window(shape: tuple[int, ...], index: tuple[Any, ...] | None) -> tuple[int, tuple[int, ...]]:
    """Offset and strides, in the row-major numbering of the whole, of what basic indexing selects."""
    strides = row_major(shape)
    if index is None:
        return 0, strides
    offset, place = 0, 0
    out: list[int] = []
    count = sum(item is not ... for item in index)
    for item in index:
        if item is ...:
            skipped = len(shape) - count
            out += strides[place : place + skipped]
            place += skipped
            continue
        if isinstance(item, slice):
            start, _, step = item.indices(shape[place])
            offset += start * strides[place]
            out.append(step * strides[place])
        else:
            offset += (item % shape[place]) * strides[place]
        place += 1
    return offset, (*out, *strides[place:])


def nodes_of(expr: Expr, lets: Any) -> Iterator[Any]:
    """Every node of an expression and of the `let` formulas it uses."""
    opened: set[str] = set()
    stack = [expr]
    while stack:
        for node in walk(stack.pop()):
            yield node
            if isinstance(node, Name) and node.name in lets and node.name not in opened:
                opened.add(node.name)
                if lets[node.name].expr is not None:
                    stack.append(lets[node.name].expr)


def draws(plan: Plan, action: Action) -> bool:
    """Whether an action takes random numbers, its module's own default left aside."""
    if not isinstance(action.payload, Expression):
        if isinstance(action.payload, Draw):
            return action.payload.initializer.draws
        return isinstance(action.payload, Random)
    registry = plan.resolver.registry
    calls = (n.function for n in nodes_of(action.payload.expr, action.clause.lets) if isinstance(n, Call))
    return any(name in registry and registry[name].draws for name in calls)


class Draws:
    """What the package's whole-tensor initializers draw from under a seed: streams of one piece, each used once."""

    def __init__(self, seed: int, name: str, first: int):
        self.seed, self.name, self.next = seed, name, first

    def fill(self, tensor: torch.Tensor, what: Distribution) -> torch.Tensor:
        """Fill a tensor from the next stream; returns it."""
        streams.fill(tensor, what, streams.key(self.seed, self.name, self.next))
        self.next += 1
        return tensor

    def uniform(self, tensor: torch.Tensor) -> torch.Tensor:
        return self.fill(tensor, Uniform(0.0, 1.0))


class Seeded:
    """The streams of one seed, for the entries of one plan."""

    def __init__(self, seed: int, plan: Plan):
        self.seed = seed
        self.plan = plan
        self._numbers: dict[int, tuple[PlanEntry, dict[int, int]]] = {}

    # ---- which stream

    def number(self, entry: PlanEntry, action: Action, nth: int) -> int:
        """The draw's number among those of its parameter: 0 and up for what sets values, from 2**20 for the edits."""
        known = self._numbers.get(id(entry))
        if known is None:
            clauses: dict[int, int] = {}
            for each in entry.actions:
                number = each.clause.number
                if number not in clauses and self._stacks(each) and draws(self.plan, each):
                    clauses[number] = len(clauses) + 1
            known = self._numbers[id(entry)] = (entry, clauses)
        return known[1].get(action.clause.number, 0) * PER_EDIT + nth

    def _stacks(self, action: Action) -> bool:
        """Whether an action's values build on those there are."""
        if action.operator not in ("=", "~"):
            return True
        return isinstance(action.payload, Expression) and action.payload.reads_itself

    def key(self, entry: PlanEntry, action: Action, nth: int) -> streams.StreamKey:
        return streams.key(self.seed, entry.name, self.number(entry, action, nth))

    # ---- filling

    def fill(
        self, entry: PlanEntry, piece: torch.Tensor, what: Distribution, action: Action, nth: int,
        place: Place | None = None,
    ) -> None:  # fmt: skip
        """Fill what an action's index selects, or the part of it at `place`, every element from its own place."""
        if place is not None:
            offset, strides = place.offset, place.strides
        else:
            offset, strides = window(action.view or entry.tensor.shape, action.index)
        streams.fill(piece, what, self.key(entry, action, nth), offset=offset, strides=strides)

    def run(
        self, entry: PlanEntry, piece: torch.Tensor, initializer: Initializer, arguments: dict[str, Any],
        action: Action, nth: int,
    ) -> Any:  # fmt: skip
        """Call a whole-tensor initializer with a generator that is the piece's own; global generators stay untouched."""
        number = self.number(entry, action, nth)
        name = entry.name
        if math.prod(action.shape) != entry.tensor.numel:
            offset, _ = window(action.view or entry.tensor.shape, action.index)
            name = f"{name}\0{offset}\0{list(action.shape)}"
        if initializer.builtin:
            generator = {"generator": Draws(self.seed, name, number)} if initializer.takes_generator else {}
            return initializer.function(piece, **arguments, **generator)
        extra = {}
        if initializer.takes_generator:
            extra["generator"] = streams.generator(streams.key(self.seed, name, number), piece.device)
        with unmoved(initializer.name):
            return initializer.function(piece, **arguments, **extra)

    # ---- defaults

    @contextmanager
    def resetting(self, name: str) -> Iterator[None]:
        """The global generators seeded for one module's own `reset_parameters`, and put back after it."""
        with isolated(streams.key(self.seed, f"{name}.<default>")):
            yield


def states() -> list[tuple[Callable[[], Any], Callable[[Any], Any], Callable[[Any, Any], bool]]]:
    """`(read, write, equal)` for the state of every global generator of the CPU: torch, Python, numpy if it is there."""
    import torch

    found: list[Any] = [
        (torch.random.get_rng_state, torch.random.set_rng_state, torch.equal),
        (random.getstate, random.setstate, lambda a, b: a == b),
    ]
    numpy = sys.modules.get("numpy")
    if numpy is not None and hasattr(numpy, "random"):
        found.append((
            lambda: numpy.random.get_state(legacy=False), numpy.random.set_state,
            lambda a, b: a["state"]["pos"] == b["state"]["pos"] and bool((a["state"]["key"] == b["state"]["key"]).all()),
        ))  # fmt: skip
    return found


@contextmanager
def isolated(key: streams.StreamKey | None) -> Iterator[None]:
    """Seed the global generators from a key (or leave them running), and put them back afterwards."""
    import torch

    saved = [(write, read()) for read, write, _ in states()]
    try:
        if key is not None:
            seed = streams.generator(key).initial_seed()
            torch.default_generator.manual_seed(seed)
            random.seed(seed)
            if "numpy" in sys.modules:
                sys.modules["numpy"].random.seed(seed & 0xFFFFFFFF)
        yield
    finally:
        for write, state in saved:
            write(state)


@contextmanager
def unmoved(name: str) -> Iterator[None]:
    """Refuse a function that draws from a global generator; the executor puts that back with everything else."""
    before = [(read, read(), equal) for read, _, equal in states()]
    yield
    for read, state, equal in before:
        if not equal(state, read()):
            raise RuntimeError(
                "it drew from a global generator, which a seed does not reach: draw from its argument `generator`"
            )
