"""A plan as a tree of modules in which repeated layers are folded: layers 0 to 11, alike, are one node that opens."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from initdsl.planning.plan import Plan, PlanEntry, tensors_by_first
from initdsl.statistics.measures import Measure, pooled

__all__ = ["Leaf", "Node", "further_names", "tree"]


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


def tree(
    plan: Plan,
    measures: Mapping[int, Measure] | None = None,
    mark: Callable[[PlanEntry], Hashable] = lambda entry: None,
) -> Node:
    """Return the modules of a plan's model that have tensors in the plan, from the root down.

    A tensor stands under the module that `named_parameters()` finds it in; `measures` go by the index of a tensor.
    Layers that are next to each other in a list are folded where they have the same classes, shapes and rules, and
    the same `mark`.
    """
    network = plan.network
    further = further_names(plan)
    joined = tensors_by_first(plan.tied_to)
    owned: dict[int, list[tuple[str, PlanEntry]]] = {}
    for entry in plan.entries:
        first = min([entry.tensor.index, *joined.get(entry.tensor.index, ())])
        owner, local = network.tensors[first].owners[0]
        owned.setdefault(owner, []).append((local, entry))
    keys: dict[Hashable, int] = {}
    nodes: dict[int, Node | None] = {}
    # children first, so that no recursion is as deep as the network
    for index in [*network.apply_order, *([0] if network.modules and 0 not in network.apply_order else [])]:
        module = network.modules[index]
        node = Node("net" if index == 0 else "", module.cls.name)
        for local, entry in owned.get(index, ()):
            measure = measures.get(entry.tensor.index) if measures is not None else None
            node.leaves.append(Leaf(local, [entry], measure))
        inside = []
        for name, child in module.children.items():
            below = nodes.pop(child, None)
            if below is not None:  # a shared module stands where it is met first
                below.name = f"[{name}]" if name.isdigit() else f".{name}"
                inside.append(below)
        key = (
            node.cls,
            tuple((leaf.name, mark(leaf.entries[0]), *_likeness(leaf.entries[0], further)) for leaf in node.leaves),
            tuple((child.name, child.key) for child in inside),
        )
        node.key = keys.setdefault(key, len(keys))
        node.children = _folded(inside)
        nodes[index] = node if node.leaves or node.children else None
    return nodes.get(0) or Node("net", network.modules[0].cls.name if network.modules else "Module")


def _likeness(entry: PlanEntry, further: Mapping[int, Sequence[str]]) -> tuple[Hashable, ...]:
    """Return what tensors of layers that are folded have in common."""
    clauses = tuple(action.clause.number for action in entry.actions)
    return (entry.shape, entry.dtype, entry.status, clauses, entry.tensor.index in further)


def further_names(plan: Plan) -> dict[int, list[str]]:
    """Return the names but the first of every tensor that has several, by the tensor's index."""
    shared = any(len(module.parents) > 1 for module in plan.network.modules)
    joined = {i for pair in plan.tied_to.items() if pair[0] != pair[1] for i in pair}
    further = {}
    for entry in plan.entries:
        if shared or len(entry.tensor.owners) > 1 or entry.tensor.index in joined:
            names = entry.names
            if len(names) > 1:
                further[entry.tensor.index] = names[1:]
    return further


def _folded(nodes: list[Node]) -> list[Node]:
    """Return the nodes with numbered neighbours that are alike as one each."""
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
    """Return one node for several of the same shape; what is folded within them is not opened here."""
    first = alike[0]
    leaves = [
        Leaf(leaf.name, [e for n in alike for e in n.leaves[i].entries], pooled([n.leaves[i].measure for n in alike]))
        for i, leaf in enumerate(first.leaves)
    ]
    children = [_merged([node.children[i] for node in alike]) for i in range(len(first.children))]
    return Node(first.name, first.cls, leaves, children, [], first.key)
