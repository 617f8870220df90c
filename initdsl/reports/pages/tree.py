"""A plan as a tree of modules in which repeated layers are folded: layers 0 to 11, alike, are one node that opens."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from initdsl.initializers import Distribution, Normal
from initdsl.planning.plan import Action, Draw, Plan, PlanEntry, Value

__all__ = ["Leaf", "Measure", "Node", "expected", "further_names", "tree"]


@dataclass(frozen=True)
class Measure:
    """What was found in a tensor, or in several alike: moments and bounds of `count` finite elements, of which
    `histogram` are the counts in equal bins between `low` and `high` (empty: not counted).

    `stds` are the smallest and largest standard deviation of the tensors; `other` elements are not finite.
    """

    count: int
    mean: float
    std: float
    low: float
    high: float
    other: int = 0
    stds: tuple[float, float] = (0.0, 0.0)
    histogram: tuple[int, ...] = ()
    edges: tuple[float, float] = (0.0, 0.0)


@dataclass
class Leaf:
    """A tensor, or the tensors of the same place in layers that are folded."""

    name: str
    entries: list[PlanEntry]
    measure: Measure | None = None


@dataclass
class Node:
    """A module with its own tensors and the modules in it. A fold stands for its `members`, alike but for numbers."""

    name: str
    cls: str
    leaves: list[Leaf] = field(default_factory=list)
    children: list[Node] = field(default_factory=list)
    members: list[Node] = field(default_factory=list)
    key: int = 0

    def below(self) -> Iterable[Leaf]:
        """The leaves of a module and of all in it, folds as one."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield from node.leaves
            stack.extend(reversed(node.children))


def tree(plan: Plan, measures: Mapping[int, Measure] | None = None) -> Node:
    """The modules of a plan's network that have tensors in the plan, from the root down.

    A tensor stands under the module that `named_parameters()` finds it in; `measures` go by the index of a tensor.
    Layers that are next to each other in a list are folded where they have the same classes, shapes and rules.
    """
    network = plan.network
    others = further_names(plan)
    owned: dict[int, list[tuple[str, PlanEntry]]] = {}
    for entry in plan.entries:
        owner, local = plan.first(entry.tensor).owners[0]
        owned.setdefault(owner, []).append((local, entry))
    keys: dict[Any, int] = {}
    made: dict[int, Node | None] = {}
    # children first, so that no recursion is as deep as the network
    for index in [*network.apply_order, *([0] if network.modules and 0 not in network.apply_order else [])]:
        module = network.modules[index]
        node = Node("net" if index == 0 else "", module.cls.name)
        for local, entry in owned.get(index, ()):
            measure = measures.get(entry.tensor.index) if measures is not None else None
            node.leaves.append(Leaf(local, [entry], measure))
        inside = []
        for name, child in module.children.items():
            below = made.pop(child, None)
            if below is not None:  # a shared module stands where it is met first
                below.name = f"[{name}]" if name.isdigit() else f".{name}"
                inside.append(below)
        key = (
            node.cls,
            tuple((leaf.name, *_kind(leaf.entries[0], others)) for leaf in node.leaves),
            tuple((child.name, child.key) for child in inside),
        )
        node.key = keys.setdefault(key, len(keys))
        node.children = _folded(inside)
        made[index] = node if node.leaves or node.children else None
    return made.get(0) or Node("net", network.modules[0].cls.name if network.modules else "Module")


def _kind(entry: PlanEntry, others: Mapping[int, Sequence[str]]) -> tuple[Any, ...]:
    numbers = tuple(a.clause.number for a in entry.actions)
    return (entry.shape, entry.dtype, entry.status, numbers, entry.tensor.index in others)


def further_names(plan: Plan) -> dict[int, list[str]]:
    """The names but the first of every tensor that has several, by the tensor's index."""
    shared = any(len(module.parents) > 1 for module in plan.network.modules)
    joined = {i for pair in plan.canonical.items() if pair[0] != pair[1] for i in pair}
    found = {}
    for entry in plan.entries:
        if shared or len(entry.tensor.owners) > 1 or entry.tensor.index in joined:
            names = entry.names
            if len(names) > 1:
                found[entry.tensor.index] = names[1:]
    return found


def _folded(nodes: list[Node]) -> list[Node]:
    """Numbered neighbours that are alike as one node each."""
    done: list[Node] = []
    run: list[Node] = []
    for node in nodes:
        if run and (node.key != run[-1].key or not node.name.startswith("[")):
            done.append(_fold(run))
            run = []
        run.append(node)
    return [*done, *([_fold(run)] if run else [])]


def _fold(run: list[Node]) -> Node:
    if len(run) == 1:
        return run[0]
    folded = _merged(run)
    folded.name, folded.members = f"[{run[0].name[1:-1]}..{run[-1].name[1:-1]}]", run
    return folded


def _merged(alike: Sequence[Node]) -> Node:
    """One node for several of the same shape; what is folded within them is not opened here."""
    first = alike[0]
    leaves = [
        Leaf(leaf.name, [e for n in alike for e in n.leaves[i].entries], _pooled([n.leaves[i].measure for n in alike]))
        for i, leaf in enumerate(first.leaves)
    ]
    children = [_merged([node.children[i] for node in alike]) for i in range(len(first.children))]
    return Node(first.name, first.cls, leaves, children, [], first.key)


def _pooled(measures: Sequence[Measure | None]) -> Measure | None:
    """The measure of all elements together. Histograms are drawn over the widest of the ranges."""
    found = [m for m in measures if m is not None]
    if not found or len(found) < len(measures):
        return None
    count = sum(m.count for m in found)
    other = sum(m.other for m in found)
    if not count:
        return Measure(0, math.nan, math.nan, math.nan, math.nan, other)
    some = [m for m in found if m.count]
    mean = math.fsum(m.mean * m.count for m in some) / count
    square = math.fsum((m.std**2 + (m.mean - mean) ** 2) * m.count for m in some) / count
    low, high = min(m.low for m in some), max(m.high for m in some)
    edges = (min(m.edges[0] for m in some), max(m.edges[1] for m in some))
    counted = [m for m in some if m.histogram]
    histogram = _rebinned(counted, edges) if counted else ()
    stds = (min(m.stds[0] for m in some), max(m.stds[1] for m in some))
    return Measure(count, mean, math.sqrt(square), low, high, other, stds, histogram, edges)


def _rebinned(measures: Sequence[Measure], edges: tuple[float, float]) -> tuple[int, ...]:
    """Histograms of several ranges as one over `edges`, each bin's count spread evenly over its width."""
    bins = len(measures[0].histogram)
    low, width = edges[0], edges[1] - edges[0]
    counts = [0.0] * bins
    for m in measures:
        if not width or m.edges == edges:
            counts = [a + b for a, b in zip(counts, m.histogram, strict=True)]
            continue
        step = (m.edges[1] - m.edges[0]) / bins
        for i, n in enumerate(m.histogram):
            if not n:
                continue
            begin = (m.edges[0] + i * step - low) / width * bins
            end = begin + step / width * bins
            first, last = min(bins - 1, int(begin)), min(bins - 1, max(int(begin), math.ceil(end) - 1))
            for j in range(first, last + 1):
                share = (min(end, j + 1) - max(begin, j)) / (end - begin) if end > begin else 1.0
                counts[j] += n * max(0.0, share)
    return tuple(round(n) for n in counts)


def expected(entry: PlanEntry) -> tuple[float, float, float, float] | None:
    """Mean, standard deviation and bounds (infinite: none) that the rules promise, where they are known.

    Known are distributions and numbers, the matrices of `torch.nn.init` that are no distribution, and those edited by
    a number on the whole.
    """
    if entry.base is None or any(a.operator not in ("+=", "-=", "*=", "/=") for a in entry.edits):
        return None
    found = _of(entry.base)
    for action in entry.edits:
        if found is None or action.index is not None or action.view is not None:
            return None
        if not isinstance(action.payload, Value):
            return None
        mean, std, low, high = found
        by = float(action.payload.value)
        if action.operator in ("*=", "/="):
            if action.operator == "/=":
                by = 1 / by if by else math.nan
            ends = (low * by, high * by) if by else (0.0, 0.0)
            found = mean * by, std * abs(by), min(ends), max(ends)
        else:
            by = by if action.operator == "+=" else -by
            found = mean + by, std, low + by, high + by
    return found if found is None or all(not math.isnan(x) for x in found) else None


def _of(action: Action) -> tuple[float, float, float, float] | None:
    payload, shape = action.payload, action.shape
    if isinstance(payload, Value):
        value = float(payload.value)
        return value, 0.0, value, value
    if isinstance(payload, Distribution):
        return payload.mean, payload.std, *payload.bounds
    if not isinstance(payload, Draw) or len(shape) < 2 or not math.prod(shape):
        return None
    rows, columns = shape[0], math.prod(shape[1:])
    arguments = payload.arguments
    match payload.initializer.name:
        case "orthogonal":
            gain = abs(float(arguments["gain"]))
            return 0.0, gain / math.sqrt(max(rows, columns)), -gain, gain
        case "sparse":
            kept = 1 - math.ceil(float(arguments["sparsity"]) * rows) / rows
            return 0.0, Normal(0.0, float(arguments["std"])).std * math.sqrt(kept), -math.inf, math.inf
        case "eye":
            mean = 1 / max(rows, columns)
            return mean, math.sqrt(mean * (1 - mean)), 0.0, 1.0
    return None
