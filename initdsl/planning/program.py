"""Programs: expressions in which nothing is left to look up.

While a plan is made, an expression is evaluated once with shapes in place of tensors. What would need their values is
noted as a step instead. Names, selectors and files are all resolved then, so that the plan alone decides what is
written:

    it * abs(net.scale) + normal(0, 1)

    0  Target(whole=False)
    1  Read(tensor=7)
    2  Apply("abs", (Step 1,))
    3  Apply("*", (Step 0, Step 2))
    4  Drawn(normal, (("mean", 0), ("std", 1)), stream=0)
    5  Apply("+", (Step 3, Step 4))
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias, Union

from initdsl.initializers import Initializer
from initdsl.language.expressions.shapes import Shape
from initdsl.language.syntax.nodes import Expr, Name
from initdsl.text.source import Span

__all__ = [
    "Apply",
    "Drawn",
    "Element",
    "Load",
    "Operand",
    "Program",
    "Read",
    "Recorder",
    "Ref",
    "Step",
    "Stored",
    "Target",
    "Traced",
]


@dataclass(frozen=True, slots=True)
class Ref:
    """The value of an earlier step, by its number."""

    step: int


# a number, a word, none, nested tuples of them, or what an earlier step gave
Operand: TypeAlias = Union[bool, int, float, str, "tuple[Operand, ...]", Ref, None]


@dataclass(frozen=True, slots=True)
class Load:
    """A tensor of a file, of the shape it had when the plan was made: `load("a.safetensors", key="head.weight")`."""

    path: str
    key: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f'load("{self.path}", key="{self.key}")'


@dataclass(frozen=True, slots=True)
class Read:
    """Another tensor of the model, by its number."""

    tensor: int


@dataclass(frozen=True, slots=True)
class Target:
    """The tensor that is written to: the `whole` of it, or the piece that the action writes."""

    whole: bool


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor of a file."""

    load: Load


@dataclass(frozen=True, slots=True)
class Drawn:
    """What an initializer gives for a tensor of the piece's shape.

    `stream` is the first of those that it draws from under a seed, counted over the draws of this expression.
    """

    initializer: Initializer
    arguments: tuple[tuple[str, Operand], ...]
    stream: int
    spans: tuple[tuple[str, Span], ...] = field(default=(), compare=False)  # of the arguments, to blame them
    span: Span = field(default=Span(0, 0), compare=False)

    @property
    def is_bound(self) -> bool:
        """Whether the arguments are checked numbers, and none is read off a tensor."""
        return not any(isinstance(value, Ref) for _, value in self.arguments)


@dataclass(frozen=True, slots=True)
class Element:
    """A part of a tensor by basic indexing; `items` are ints, slices and `...`."""

    base: Ref
    items: tuple[Any, ...]
    node: Any = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Apply:
    """An operator or a function of the language; `node` is blamed for what goes wrong."""

    function: str
    operands: tuple[Operand, ...]
    keywords: tuple[tuple[str, Operand], ...]
    node: Expr = field(compare=False, repr=False)


Step: TypeAlias = Read | Target | Stored | Drawn | Element | Apply


@dataclass(frozen=True, slots=True)
class Program:
    """The steps of an expression in their order, and what it comes to.

    `direct`: the whole expression is one initializer, which fills the piece itself.
    """

    steps: tuple[Step, ...]
    result: Operand
    direct: bool = False
    uses: tuple[tuple[Name, ...], ...] = field(
        default=(), compare=False, repr=False
    )  # by step, the `let` names it is part of

    @property
    def draws(self) -> bool:
        """Whether random numbers are drawn."""
        return any(isinstance(step, Drawn) and step.initializer.draws for step in self.steps)

    def last_uses(self) -> list[int]:
        """By step, the number of the last step that uses its value; the step itself where none does."""
        last = list(range(len(self.steps)))
        for number, step in enumerate(self.steps):
            for used in _used(step):
                last[used] = number
        for used in _refs(self.result):
            last[used] = len(self.steps)
        return last


def _used(step: Step) -> Iterator[int]:
    match step:
        case Apply():
            yield from _refs(step.operands)
            for _, value in step.keywords:
                yield from _refs(value)
        case Drawn():
            for _, value in step.arguments:
                yield from _refs(value)
        case Element():
            yield step.base.step


def _refs(operand: Operand) -> Iterator[int]:
    if isinstance(operand, Ref):
        yield operand.step
    elif isinstance(operand, tuple):
        for item in operand:
            yield from _refs(item)


# ---- recording


@dataclass(frozen=True, slots=True)
class Traced(Shape):
    """The shape of what a recorded step gives, and the number of that step."""

    step: int


class Recorder:
    """Steps as they are met while an expression is evaluated over shapes."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.uses: list[tuple[Name, ...]] = []
        self.open: tuple[Name, ...] = ()  # the `let` names whose formulas are being evaluated, outermost first
        self._numbers: dict[Step, int] = {}  # of what has one value however often it is read

    def add(self, step: Step, dims: tuple[int, ...]) -> Traced:
        """Note a step that gives a tensor of this shape."""
        if isinstance(step, Read | Target | Stored):
            number = self._numbers.get(step)
            if number is not None:
                return Traced(dims, number)
            self._numbers[step] = len(self.steps)
        self.steps.append(step)
        self.uses.append(self.open)
        return Traced(dims, len(self.steps) - 1)

    def forget(self, count: int) -> None:
        """Drop all but the first `count` steps: their values are not wanted after all."""
        del self.steps[count:], self.uses[count:]
        self._numbers = {step: number for step, number in self._numbers.items() if number < count}

    def program(self, value: Any, direct: bool = False) -> Program:
        """The program that comes to `value`."""
        return Program(tuple(self.steps), operand(value), direct, tuple(self.uses))


def operand(value: Any) -> Operand:
    """A value met while recording, as steps refer to it."""
    if isinstance(value, Traced):
        return Ref(value.step)
    if isinstance(value, tuple | list):
        return tuple(operand(item) for item in value)
    assert value is None or isinstance(value, bool | int | float | str), value
    return value
