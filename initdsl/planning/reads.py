"""What statements make of the modules around a tensor and of bound indices: which matches differ in nothing for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from initdsl.language.expressions.let import Variables
from initdsl.language.syntax.nodes import Call, Copy, Index, Length, Name, Node, Tie
from initdsl.language.syntax.walk import walk
from initdsl.network.selectors.context import Reads
from initdsl.network.selectors.matches import Frame

from .lookups import name_in

__all__ = ["reads_of"]


# functions that look for the tensor in a file by its name below the module that the selector names
BY_NAME = frozenset(["load", "base_shape"])


def reads_of(nodes: Iterable[Node], variables: Variables, frame: Frame | None) -> Reads:
    """Return what statements or selectors make of matches, their formulas included; `frame` is the block they stand in."""
    names: Counter[str] = Counter()
    indices: set[str] = set()
    modules = False
    for node in _with_formulas(nodes, variables):
        match node:
            case Name():
                names[node.name] += 1
            case Length() if (name := name_in(node.selector)) is not None:
                names[name.name] += 1
            case Index():
                indices.update(item.name for item in node.items if isinstance(item, Name))
            case Call():
                modules = modules or node.function in BY_NAME
            case Tie() | Copy():
                modules = True
    once = {name for name in indices if names[name] == 1}
    if frame is not None and once:
        once -= {name for match in frame.matches for name, _ in match.bindings}
    return Reads(frozenset(names), frozenset() if modules else frozenset(once), modules)


def _with_formulas(nodes: Iterable[Node], variables: Variables) -> Iterator[Node]:
    """Yield nodes, everything inside them, and the formulas of the `let` names they use."""
    stack, met = list(nodes), set[str]()
    while stack:
        for node in walk(stack.pop()):
            yield node
            if isinstance(node, Name) and node.name in variables and node.name not in met:
                met.add(node.name)
                formula = variables[node.name].expr
                if formula is not None:
                    stack.append(formula)
