"""`let` names, and the formulas they stand for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from initdsl.language.syntax import nodes
from initdsl.language.syntax.nodes import Name
from initdsl.language.syntax.walk import walk

if TYPE_CHECKING:
    from initdsl.language.syntax.nodes import Expr

__all__ = ["Lets", "Variable", "nodes_of"]


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


@dataclass(frozen=True)
class Variable:
    """A `let`: the formula and the file it stands in; or a value of `vars`."""

    expr: nodes.Expr | None
    source: str
    value: Any = None


class Lets(Mapping[str, Variable]):
    """The `let` names a statement sees; extending makes a new value."""

    def __init__(self, known: dict[str, Variable] | None = None):
        self._known = known or {}

    def with_(self, name: str, variable: Variable) -> Lets:
        return Lets({**self._known, name: variable})

    def __getitem__(self, name: str) -> Variable:
        return self._known[name]

    def __iter__(self) -> Any:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, name: object) -> bool:
        return name in self._known
