"""`let` names, and the formulas they stand for."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from initdsl.language.syntax import nodes

__all__ = ["Variable", "Variables"]


@dataclass(frozen=True)
class Variable:
    """What a `let` name stands for: the formula of `let std = 0.02` and the file it stands in, or a `value` of `vars`."""

    expr: nodes.Expr | None
    source: str
    value: Any = None


@dataclass
class _Table:
    """The names that one block or file declares, each time with its number in their order."""

    declared: dict[str, list[tuple[int, Variable]]] = field(default_factory=dict)
    count: int = 0


class Variables(Mapping[str, Variable]):
    """The `let` names that a statement sees: `Variables({"std": Variable(Number(0.02), "net.init")})`.

    Those of one block share a table, of which each sees so many entries: thousands of names, and a statement behind each,
    would take a copy of all names for every statement.
    """

    __slots__ = ("_count", "_outer", "_table")

    def __init__(self, by_name: Mapping[str, Variable] | None = None):
        names = dict(by_name or {})
        self._outer: Variables | None = None
        self._table = _Table({name: [(i, variable)] for i, (name, variable) in enumerate(names.items())}, len(names))
        self._count = len(names)

    def _seeing(self, outer: Variables | None, table: _Table, count: int) -> Variables:
        made = Variables.__new__(Variables)
        made._outer, made._table, made._count = outer, table, count
        return made

    def inside(self) -> Variables:
        """Return these names as a block sees them, which may declare others for itself."""
        return self._seeing(self, _Table(), 0)

    def with_(self, name: str, variable: Variable) -> Variables:
        """Return these names and one more; a name that is there already is said anew."""
        table = self._table
        if self._count != table.count:  # others have declared more in this table, which these don't see
            return self.inside().with_(name, variable)
        table.declared.setdefault(name, []).append((table.count, variable))
        table.count += 1
        return self._seeing(self._outer, table, table.count)

    def _found(self, name: object) -> Variable | None:
        here: Variables | None = self
        while here is not None:
            declared = here._table.declared.get(name)  # type: ignore[call-overload]
            if declared:
                place = bisect_left(declared, here._count, key=itemgetter(0))
                if place:
                    found: Variable = declared[place - 1][1]
                    return found
            here = here._outer
        return None

    def __getitem__(self, name: str) -> Variable:
        variable = self._found(name)
        if variable is None:
            raise KeyError(name)
        return variable

    def __iter__(self) -> Iterator[str]:
        if self._outer is not None:
            yield from self._outer
        for name, declared in self._table.declared.items():
            if declared[0][0] < self._count and (self._outer is None or name not in self._outer):
                yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return self._found(name) is not None
