"""`let` names, and the formulas they stand for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from initdsl.language.syntax import nodes

__all__ = ["Variable", "Variables"]


@dataclass(frozen=True)
class Variable:
    """What a `let` name stands for: the formula of `let std = 0.02` and the file it stands in, or a `value` of `vars`."""

    expr: nodes.Expr | None
    source: str
    value: Any = None


class Variables(Mapping[str, Variable]):
    """The `let` names that a statement sees: `Variables({"std": Variable(Number(0.02), "net.init")})`."""

    def __init__(self, by_name: Mapping[str, Variable] | None = None):
        self._by_name = dict(by_name or {})

    def with_(self, name: str, variable: Variable) -> Variables:
        """Return these names and one more; a name that is there already is said anew."""
        return Variables({**self._by_name, name: variable})

    def __getitem__(self, name: str) -> Variable:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name
