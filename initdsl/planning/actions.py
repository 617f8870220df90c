"""Actions: one write each, of what, into which piece of which tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from initdsl.initializers import (
    Arguments,
    Constant,
    Distribution,
    Initializer,
    Random,
)
from initdsl.language.syntax.nodes import Assign, Call, Copy, Default, Keep, Selector, Tie
from initdsl.network.parts import TensorInfo
from initdsl.text.wording import value_text

from .program import Drawn, Load, Program, Stored

__all__ = [
    "EDITS",
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
    "payload_dict",
]


# the operators that build on the values that are there; of `copy` and `default` the operator is a word
EDITS = frozenset(["+=", "-=", "*=", "/="])


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
        given = [p.name for p in self.initializer.parameters if p.required or self.arguments[p.name] != p.default]
        arguments = ", ".join(f"{name}={value_text(self.arguments[name])}" for name in given)
        return f"{self.initializer.name}({arguments})"


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
    """The module's own `reset_parameters`, and what it is known to give without running it."""

    module: int
    gives: Distribution | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """Left as it is."""


Payload = Distribution | Draw | Value | Expression | Load | CopyFrom | Reset | Kept


@dataclass(frozen=True, slots=True)
class Action:
    """One write: what, into which piece of a tensor, by which clause. Tensors that are alike share their actions.

    `shape` is the piece's; `view` and `index` lead to it (`None`: the whole tensor). `effect` is the write in short, as
    one reads it behind the tensor's name: `[0] = 42`. `stream` is the number of the first of the parameter's streams
    that it draws from under a seed; `stream_strides` are part of the name of a piece that is drawn as one, where another
    of the tensor's begins at the same element.
    `module` is the one in which the clause selects the tensor, None
    for its first owner.
    """

    clause: Clause
    operator: str
    payload: Payload
    shape: tuple[int, ...]
    effect: str
    view: tuple[int, ...] | None = None
    index: tuple[Any, ...] | None = None
    stream: int = 0
    stream_strides: tuple[int, ...] | None = None
    module: int | None = None

    def module_in(self, tensor: TensorInfo) -> int:
        """Return the module in which the clause selects a tensor that this is the action of."""
        return tensor.owners[0][0] if self.module is None else self.module

    @property
    def keeps(self) -> bool:
        """Whether the tensor is left as it is."""
        return isinstance(self.payload, Kept)

    @property
    def adjusts(self) -> bool:
        """Whether a draw goes on with a sample, once all else is filled."""
        return isinstance(self.payload, Draw) and self.payload.initializer.adjust is not None

    @property
    def draws(self) -> bool:
        """Whether random numbers are taken, the module's own default left aside."""
        if isinstance(self.payload, Expression):
            return self.payload.program.draws
        if isinstance(self.payload, Draw):
            return self.payload.initializer.draws
        return isinstance(self.payload, Random)

    @property
    def reads(self) -> tuple[int, ...]:
        """The other tensors whose values are taken, by their numbers."""
        if isinstance(self.payload, Expression):
            return self.payload.reads
        return (self.payload.tensor,) if isinstance(self.payload, CopyFrom) else ()

    @property
    def loads(self) -> tuple[Load, ...]:
        """The tensors of files that are read."""
        if isinstance(self.payload, Expression):
            return tuple(step.load for step in self.payload.program.steps if isinstance(step, Stored))
        return (self.payload,) if isinstance(self.payload, Load) else ()

    @property
    def initializers(self) -> tuple[Initializer, ...]:
        """The initializers whose functions are called."""
        if isinstance(self.payload, Expression):
            return tuple(step.initializer for step in self.payload.program.steps if isinstance(step, Drawn))
        return (self.payload.initializer,) if isinstance(self.payload, Draw) else ()

    @property
    def builds_on_values(self) -> bool:
        """Whether what is written depends on the values that are there."""
        return self.operator in EDITS or self.reads_itself

    @property
    def reads_itself(self) -> bool:
        """Whether an expression looks at the values that are there."""
        return isinstance(self.payload, Expression) and self.payload.reads_itself

    @property
    def call_name(self) -> str:
        """The name of the initializer that is called, or `the rule`."""
        if isinstance(self.payload, Draw):
            return self.payload.initializer.name
        rule = self.clause.rule
        return rule.value.function if isinstance(rule, Assign) and isinstance(rule.value, Call) else "the rule"


def payload_dict(payload: Payload) -> dict[str, Any] | None:
    """Return what is written, as JSON-ready values, where the plan knows it; numbers JSON has no word for as text."""
    match payload:
        case Value():
            values: dict[str, Any] = {"kind": "constant", "value": payload.value}
        case Draw():
            values = {"kind": payload.initializer.name, **payload.arguments}
        case Load():
            values = {"kind": "load", "path": payload.path, "key": payload.key}
        case Reset() if payload.gives is not None:
            return payload_dict(payload.gives)
        case _ if isinstance(payload, Constant | Random):
            values = {"kind": payload.kind, **{name: getattr(payload, name) for name in payload.__slots__}}
        case _:
            return None
    return {k: str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
