"""`Initializer`: a function with checked arguments, as rules call it."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal

import pydantic
from pydantic import ConfigDict, Field

from initdsl.text.wording import did_you_mean, value_text

from .distributions import Distribution

__all__ = [
    "ArgumentError",
    "Count",
    "FanMode",
    "Finite",
    "Initializer",
    "NonNegative",
    "Positive",
    "Probability",
    "Steps",
    "describe_function",
]


Finite = Annotated[float, Field(allow_inf_nan=False)]


NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


Count = Annotated[int, Field(ge=1)]


Steps = Annotated[int, Field(ge=1, le=1000)]


FanMode = Literal["fan_in", "fan_out"]


class ArgumentError(ValueError):
    """A call that can't be right: `argument` names the parameter at fault, where one is."""

    def __init__(self, message: str, argument: str | None = None, hint: str | None = None, name: str = "bad-argument"):
        super().__init__(message)
        self.argument = argument
        self.hint = hint
        self.name = name


@dataclass(frozen=True)
class Parameter:
    """One keyword parameter of an initializer, as documentation and completion show it."""

    name: str
    annotation: Any
    default: Any
    required: bool

    @cached_property
    def choices(self) -> tuple[str, ...]:
        """The words an enumeration takes, else empty."""
        return tuple(word for word in _literals(self.annotation) if isinstance(word, str))


def _literals(annotation: Any) -> Iterator[Any]:
    if typing.get_origin(annotation) is Literal:
        yield from typing.get_args(annotation)
    else:
        for part in typing.get_args(annotation):
            yield from _literals(part)


@dataclass(frozen=True)
class Initializer:
    """A registered initializer: its function and what is known of it.

    `elementwise` ones return a distribution for a shape; the others fill a tensor. `draws` tells whether values are
    random. `min_ndim`/`max_ndim` bound the tensor's rank. `adjust` is what follows on a sample, of those that need one.
    """

    name: str
    function: Callable[..., Any]
    parameters: tuple[Parameter, ...]
    elementwise: bool
    draws: bool
    takes_generator: bool
    builtin: bool
    min_ndim: int = 0
    max_ndim: int | None = None
    check: Callable[..., None] | None = None
    aliases: tuple[str, ...] = ()
    adjust: Callable[..., Any] | None = None
    _bound: dict[Any, dict[str, Any]] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def model(self) -> type[pydantic.BaseModel]:
        """The model of the arguments, made when the first call is bound: most files call two or three initializers."""
        fields: dict[str, Any] = {p.name: (p.annotation, ... if p.required else p.default) for p in self.parameters}
        strict = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)
        return pydantic.create_model(f"{self.name}_arguments", __config__=strict, **fields)

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
        return f"{self.name}({', '.join(p.name if p.required else f'{p.name}={value_text(p.default)}' for p in self.parameters)})"

    def parameter(self, name: str) -> Parameter | None:
        return next((p for p in self.parameters if p.name == name), None)

    def bind(self, args: typing.Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Name, validate and complete the arguments of a call; shapes are not looked at.

        Raises ArgumentError that names the argument, the allowed values and the nearest name.
        """
        given = self.names(len(args), kwargs)
        values = dict(zip(given, (*args, *kwargs.values()), strict=True))
        try:
            validated = self.model.model_validate(values)
        except pydantic.ValidationError as error:
            raise self._explain(error, values) from None
        bound = {p.name: getattr(validated, p.name) for p in self.parameters}
        if self.check is not None:
            self.check(None, **bound)
        return bound

    def names(self, positional: int, keywords: typing.Iterable[str]) -> list[str]:
        """The parameter each argument of a call goes to, in call order; raises ArgumentError."""
        names = [p.name for p in self.parameters]
        if positional > len(names):
            few = "no arguments" if not names else f"at most {len(names)} argument{'s' * (len(names) > 1)}"
            raise ArgumentError(f"`{self.name}` takes {few}, got {positional}", hint=f"the call is `{self.signature}`")
        given = names[:positional]
        for keyword in keywords:
            if keyword not in names:
                raise ArgumentError(
                    f"`{self.name}` has no argument `{keyword}`",
                    keyword,
                    did_you_mean(keyword, names) or f"the call is `{self.signature}`",
                    "unknown-argument",
                )
            if keyword in given:
                raise ArgumentError(f"`{keyword}` is given twice", keyword, f"the call is `{self.signature}`")
            given.append(keyword)
        return given

    def check_shape(self, shape: tuple[int, ...], arguments: Mapping[str, Any]) -> None:
        """Refuse a shape this initializer can't fill; raises ArgumentError."""
        ndim = len(shape)
        if ndim < self.min_ndim or (self.max_ndim is not None and ndim > self.max_ndim):
            raise ArgumentError(
                f"`{self.name}` needs {_ranks(self.min_ndim, self.max_ndim)}, not shape {list(shape)}",
                name="undefined-fan" if self.elementwise and ndim < 2 else "bad-shape",
            )
        if self.check is not None:
            self.check(shape, **arguments)

    def distribution(self, shape: tuple[int, ...], arguments: Mapping[str, Any]) -> Distribution:
        """What an element-wise initializer draws for a tensor of this shape."""
        self.check_shape(shape, arguments)
        try:
            return typing.cast(Distribution, self.function(shape, **arguments))
        except ArgumentError as error:
            if error.name == "undefined-fan":
                what = f"`{self.name}` needs a tensor of at least 2 dimensions, not shape {list(shape)}"
                raise ArgumentError(what, name=error.name) from None
            raise

    def _explain(self, error: pydantic.ValidationError, values: Mapping[str, Any]) -> ArgumentError:
        problem = error.errors(include_url=False)[0]
        name = str(problem["loc"][0]) if problem["loc"] else None
        call = f"the call is `{self.signature}`"
        if name is None:
            return ArgumentError(f"`{self.name}` can't be called like this", hint=call)
        if problem["type"] == "missing":
            return ArgumentError(f"`{self.name}` needs `{name}`", name, call)
        value = values.get(name)
        parameter = self.parameter(name)
        context = problem.get("ctx", {})
        match problem["type"]:
            case "greater_than_equal":
                wanted = f"at least {context['ge']:g}"
            case "greater_than":
                wanted = f"greater than {context['gt']:g}"
            case "less_than_equal":
                wanted = f"at most {context['le']:g}"
            case "less_than":
                wanted = f"less than {context['lt']:g}"
            case "finite_number":
                wanted = "finite"
            case _ if parameter is not None and parameter.choices:
                words = ", ".join(f"`{word}`" for word in parameter.choices)
                hint = did_you_mean(str(value), parameter.choices)
                return ArgumentError(f"`{name}` must be one of {words}, got {value_text(value)}", name, hint)
            case kind if kind.startswith(("float", "int", "bool", "string", "tuple", "list", "dict")):
                wanted = _kind(kind)
            case _:
                wanted = str(problem["msg"]).removeprefix("Input should be ").removeprefix("Value error, ")
        return ArgumentError(f"`{name}` must be {wanted}, got {value_text(value)}", name)


def _ranks(low: int, high: int | None) -> str:
    if high is None:
        return f"a tensor of at least {low} dimensions"
    if low == high:
        return f"a tensor of {low} dimensions"
    return f"a tensor of {low} to {high} dimensions"


def _kind(error: str) -> str:
    for prefix, words in (
        ("float", "a number"),
        ("int", "an integer"),
        ("bool", "true or false"),
        ("string", "a string"),
        ("tuple", "a tuple"),
        ("list", "a list"),
        ("dict", "a mapping"),
    ):
        if error.startswith(prefix):
            return words
    raise AssertionError(error)


def describe_function(
    function: Callable[..., Any],
    *,
    name: str | None,
    aliases: tuple[str, ...],
    min_ndim: int,
    max_ndim: int | None,
    check: Callable[..., None] | None,
    is_builtin: bool,
    adjust: Callable[..., Any] | None = None,
) -> Initializer:
    word = name or function.__name__
    signature = inspect.signature(function)
    all_parameters = list(signature.parameters.values())
    if not all_parameters or all_parameters[0].kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.KEYWORD_ONLY):
        raise TypeError(f"initializer `{word}` must take the tensor as its first parameter")
    first, rest = all_parameters[0], all_parameters[1:]
    if not word.isidentifier():
        raise TypeError(f"initializer name `{word}` is not an identifier")
    elementwise = first.name == "shape"
    parameters = []
    takes_generator = False
    for parameter in rest:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise TypeError(f"initializer `{word}` must name its parameters, `{parameter}` does not")
        if parameter.name == "generator":
            takes_generator = True
            continue
        annotation = _annotation(function, parameter)
        required = parameter.default is parameter.empty
        parameters.append(Parameter(parameter.name, annotation, None if required else parameter.default, required))
    draws = takes_generator
    if elementwise:
        draws = "Constant" not in str(signature.return_annotation)
    return Initializer(
        word, function, tuple(parameters), elementwise, draws, takes_generator, is_builtin,
        min_ndim, max_ndim, check, aliases, adjust,
    )  # fmt: skip


def _annotation(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """The parameter's type; a name that can't be evaluated, and no annotation, mean the type of the default."""
    annotation = parameter.annotation
    if isinstance(annotation, str):
        try:
            annotation = eval(annotation, getattr(function, "__globals__", {}))
        except Exception:
            annotation = parameter.empty
    if annotation is not parameter.empty:
        return annotation
    if isinstance(parameter.default, bool) or not isinstance(parameter.default, int | float):
        return Any
    return float
