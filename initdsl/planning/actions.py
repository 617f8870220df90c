"""Actions: one write each, of what, into which piece of which tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from initdsl.initializers import (
    Arguments,
    Bernoulli,
    Constant,
    Distribution,
    Initializer,
    Normal,
    TruncatedNormal,
    Uniform,
)
from initdsl.language.syntax.nodes import Assign, Call, Copy, Default, Keep, Selector, Tie
from initdsl.network.selectors.matches import Match
from initdsl.text.wording import value_text

from .program import Load, Program

__all__ = [
    "Action",
    "Clause",
    "CopyFrom",
    "Draw",
    "Expression",
    "Kept",
    "Load",
    "Payload",
    "Reset",
    "Value",
    "builds_on_values",
    "call_name",
    "payload_dict",
    "read_by",
]


def read_by(action: Action) -> set[int]:
    if isinstance(action.payload, Expression):
        return set(action.payload.reads)
    return {action.payload.tensor} if isinstance(action.payload, CopyFrom) else set()


def call_name(action: Action) -> str:
    if isinstance(action.payload, Draw):
        return action.payload.initializer.name
    rule = action.clause.rule
    if isinstance(rule, Assign) and isinstance(rule.value, Call):
        return rule.value.function
    return "the rule"


def builds_on_values(action: Action) -> bool:
    return action.operator not in ("=", "~") or (isinstance(action.payload, Expression) and action.payload.reads_itself)


@dataclass(frozen=True, slots=True)
class Clause:
    """A statement of the rules as the plan cites it: `Linear.weight ~ normal(0, 0.02)` at `net.init:3`.

    `number` counts the statements in their order; a `copy` counts once for each of its targets. `effect` is what stands
    behind the selector (`~ normal(0, 0.02)`), `targets` the selector that this clause fills.
    """

    number: int
    rule: Assign | Keep | Default | Copy | Tie
    targets: Selector | None
    text: str
    location: str
    effect: str

    def __hash__(self) -> int:
        return hash(self.number)


@dataclass(frozen=True, slots=True)
class Draw:
    """An initializer that fills a tensor: its function and bound arguments."""

    initializer: Initializer
    arguments: Arguments

    def __str__(self) -> str:
        shown = ", ".join(
            f"{p.name}={value_text(self.arguments[p.name])}" for p in self.initializer.parameters
            if p.required or self.arguments[p.name] != p.default
        )  # fmt: skip
        return f"{self.initializer.name}({shown})"


@dataclass(frozen=True, slots=True)
class Value:
    """One number for every element."""

    value: float | int | bool

    def __str__(self) -> str:
        return value_text(self.value)


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression that looks at tensors or draws within: carried out when its turn comes."""

    program: Program
    finite: bool  # whether a result that is not finite is an error
    reads: tuple[int, ...] = ()
    reads_itself: bool = False  # it builds on the values that are there: then it is an edit


@dataclass(frozen=True, slots=True)
class CopyFrom:
    """The final values of another tensor."""

    tensor: int


@dataclass(frozen=True, slots=True)
class Reset:
    """The module's own `reset_parameters`."""

    module: int


@dataclass(frozen=True, slots=True)
class Kept:
    """Left as it is."""


Payload = Distribution | Draw | Value | Expression | Load | CopyFrom | Reset | Kept


@dataclass(frozen=True, slots=True)
class Action:
    """One write: what, into which piece of which tensor, by which clause.

    `shape` is the piece's; `view` and `index` lead to it (`None`: the whole tensor). `effect` is the write in short, as
    one reads it behind the tensor's name: `[0] = 42`.
    """

    clause: Clause
    operator: str
    payload: Payload
    match: Match
    shape: tuple[int, ...]
    effect: str
    view: tuple[int, ...] | None = None
    index: tuple[Any, ...] | None = None


def payload_dict(payload: Payload) -> dict[str, Any] | None:
    """What is written, as JSON-ready values, where the plan knows it; numbers JSON has no word for as text."""
    match payload:
        case Value():
            found: dict[str, Any] = {"kind": "constant", "value": payload.value}
        case Draw():
            found = {"kind": payload.initializer.name, **payload.arguments}
        case Load():
            found = {"kind": "load", "path": payload.path, "key": payload.key}
        case Constant() | Uniform() | Normal() | TruncatedNormal() | Bernoulli():
            found = {"kind": payload.kind, **{name: getattr(payload, name) for name in payload.__slots__}}
        case _:
            return None
    return {k: str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in found.items()}
