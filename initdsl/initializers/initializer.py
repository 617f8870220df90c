"""`Initializer`: a function that rules may call, and what is known of it before a call."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from initdsl.text.wording import value_text

from .arguments import ArgumentError, Parameter
from .distributions import Distribution

__all__ = ["Initializer"]


@dataclass(frozen=True)
class Initializer:
    """A registered initializer: `normal(mean=0.0, std=1.0)`, its function and what is known of it.

    Two are equal that call the same function under the same name with the same bounds. It pickles by reference: a
    built-in one by its name, another by the module and name of its function.
    """

    name: str
    function: Callable[..., Any]
    builtin: bool = False
    aliases: tuple[str, ...] = ()  # further names of the same initializer
    min_ndim: int = 0  # the least number of dimensions of a tensor it fills
    max_ndim: int | None = None  # the largest; None for any
    check: Callable[..., None] | None = None  # refuses a shape and arguments that don't go together
    adjust: Callable[..., Any] | None = None  # what follows the draw on a sample, where the initializer needs one
    real_only: bool = False  # no complex tensor can be filled
    streams: int = 1  # from how many streams it draws under a seed
    # read off the function
    parameters: tuple[Parameter, ...] = field(default=(), compare=False)
    elementwise: bool = field(default=False, compare=False)  # returns a distribution for a shape, and fills no tensor
    draws: bool = field(default=False, compare=False)  # its values are random
    takes_generator: bool = field(default=False, compare=False)

    def __copy__(self) -> Initializer:
        return self

    def __deepcopy__(self, memo: object) -> Initializer:
        return self

    @property
    def doc(self) -> str:
        """The docstring, dedented."""
        return inspect.cleandoc(self.function.__doc__ or "")

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return self.doc.partition("\n")[0]

    @property
    def signature(self) -> str:
        """The call as a rule file writes it: `normal(mean=0, std=1)`."""
        words = (p.name if p.required else f"{p.name}={value_text(p.default)}" for p in self.parameters)
        return f"{self.name}({', '.join(words)})"

    def parameter(self, name: str) -> Parameter | None:
        """Return the parameter of this name, if there is one."""
        return next((p for p in self.parameters if p.name == name), None)

    def check_arguments(self, shape: tuple[int, ...] | None, arguments: Mapping[str, Any]) -> None:
        """Refuse arguments that don't go together, or with this shape, by ArgumentError; None: no shape is known."""
        if self.check is None:
            return
        try:
            self.check(shape, **arguments)
        except ArgumentError:
            raise
        except ValueError as error:
            raise ArgumentError(str(error)) from None

    def check_shape(self, shape: tuple[int, ...], arguments: Mapping[str, Any]) -> None:
        """Refuse a shape that this initializer can't fill, by ArgumentError."""
        ndim = len(shape)
        if ndim < self.min_ndim or (self.max_ndim is not None and ndim > self.max_ndim):
            raise ArgumentError(
                f"`{self.name}` needs {_ranks(self.min_ndim, self.max_ndim)}, not shape {list(shape)}",
                name="undefined-fan" if self.elementwise and ndim < 2 else "bad-shape",
            )
        self.check_arguments(shape, arguments)

    def distribution(self, shape: tuple[int, ...], arguments: Mapping[str, Any]) -> Distribution:
        """Return what an element-wise initializer draws for a tensor of this shape; raises ArgumentError."""
        self.check_shape(shape, arguments)
        try:
            return typing.cast(Distribution, self.function(shape, **arguments))
        except ArgumentError as error:
            if error.name == "undefined-fan":
                message = f"`{self.name}` needs a tensor of at least 2 dimensions, not shape {list(shape)}"
                raise ArgumentError(message, name=error.name) from None
            raise


def _ranks(low: int, high: int | None) -> str:
    if high is None:
        return f"a tensor of at least {low} dimensions"
    if low == high:
        return f"a tensor of {low} dimensions"
    return f"a tensor of {low} to {high} dimensions"
