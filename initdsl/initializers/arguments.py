"""Arguments of a call: the types they may have, the parameters they go to, and the error of a call that can't be right."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from initdsl.text.frozen import FrozenDict

__all__ = [
    "ArgumentError",
    "Arguments",
    "Count",
    "FanMode",
    "Finite",
    "NonNegative",
    "Parameter",
    "Positive",
    "Probability",
    "Steps",
]


Finite = Annotated[float, Field(allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Steps = Annotated[int, Field(ge=1, le=1000)]
FanMode = Literal["fan_in", "fan_out"]


class ArgumentError(ValueError):
    """A call that can't be right: `argument` names the parameter at fault, where there is one, `name` the diagnostic."""

    def __init__(self, message: str, argument: str | None = None, hint: str | None = None, name: str = "bad-argument"):
        super().__init__(message)
        self.argument = argument
        self.hint = hint
        self.name = name


class Arguments(FrozenDict[str, Any]):
    """The checked arguments of a call by parameter, defaults included: `{"mean": 0.0, "std": 0.02}`."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an initializer, as documentation and completion show it: `std: NonNegative = 0.02`."""

    name: str
    annotation: Any  # what pydantic takes for a type
    default: Any  # None where the parameter is required
    required: bool
    choices: tuple[str, ...] = field(init=False, compare=False)  # the words that an enumeration takes

    def __post_init__(self) -> None:
        words = tuple(word for word in _literals(self.annotation) if isinstance(word, str))
        object.__setattr__(self, "choices", words)

    @property
    def takes_tensor(self) -> bool:
        """Whether another parameter's values may be given: its type is a tensor, or none is said."""
        return any(kind is Any or _is_tensor(kind) for kind in _alternatives(self.annotation))

    @property
    def needs_tensor(self) -> bool:
        """Whether nothing but a tensor may be given, not even a number for one."""
        return any(map(_is_tensor, _alternatives(self.annotation)))


def _alternatives(annotation: Any) -> Iterator[Any]:
    """Yield the types that a union is of, or the one type."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, Annotated):
        for argument in typing.get_args(annotation):
            yield from _alternatives(argument)
    else:
        yield annotation


def _is_tensor(kind: Any) -> bool:
    """Tell whether a type is torch's tensor or derives from it; torch itself is not imported for that."""
    return any((base.__module__, base.__qualname__) == ("torch", "Tensor") for base in getattr(kind, "__mro__", ()))


def _literals(annotation: Any) -> Iterator[object]:
    if typing.get_origin(annotation) is Literal:
        yield from typing.get_args(annotation)
    else:
        for argument in typing.get_args(annotation):
            yield from _literals(argument)
