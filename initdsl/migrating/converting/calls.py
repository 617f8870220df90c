"""Calls of other libraries as calls of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from initdsl.language.syntax.literals import LARGEST_INT
from initdsl.text.diagnostic import Diagnostic, RuleError
from initdsl.text.wording import did_you_mean, exact_number, quoted

__all__ = ["GAINS", "Arguments", "kaiming", "number_text", "quoted_name", "refusal", "shape_call", "unknown"]


def refusal(name: str, message: str, hint: str | None = None) -> RuleError:
    return RuleError(Diagnostic(name, message, hint=hint))


# ---- calls


def number_text(value: Any, name: str = "a value") -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refusal("bad-argument", f"{name} must be a number, got {value!r:.200}")
    if isinstance(value, int) and abs(value) > LARGEST_INT:
        raise refusal("bad-argument", f"{name} needs more than 64 bits")
    return exact_number(value)


class Arguments:
    """The arguments of one initializer, each taken once; what is left over is an error."""

    def __init__(self, of: str, values: Mapping[str, Any]):
        self.of, self.left = of, dict(values)

    def take(self, name: str, default: Any) -> Any:
        return self.left.pop(name, default)

    def number(self, name: str, default: float | None = None) -> str:
        if default is None and name not in self.left:
            raise refusal("bad-argument", f"`{self.of}` needs `{name}`")
        return number_text(self.take(name, default), f"`{name}` of `{self.of}`")

    def word(self, name: str, default: str, allowed: Sequence[str]) -> str:
        value = self.take(name, default)
        if value not in allowed:
            raise refusal("bad-argument", f"`{name}` of `{self.of}` is one of {', '.join(allowed)}, not {value!r:.200}")
        return str(value)

    def done(self) -> None:
        if self.left:
            raise refusal("unknown-argument", f"`{self.of}` has no argument `{next(iter(self.left))}`")


GAINS = (
    "linear",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "sigmoid",
    "tanh",
    "relu",
    "leaky_relu",
    "selu",
)


MODES = ("fan_in", "fan_out")


def _call(name: str, *arguments: str) -> str:
    return f"{name}({', '.join(a for a in arguments if a)})"


def kaiming(a: Arguments, distribution: str, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> str:
    slope, mode = a.number("a", 0), a.word("mode", mode, MODES)
    nonlinearity = a.word("nonlinearity", nonlinearity, GAINS)
    told = [f"a={slope}" if slope not in ("0", "0.0") and nonlinearity == "leaky_relu" else ""]
    told += [
        "" if mode == "fan_in" else f"mode={mode}",
        "" if nonlinearity == "leaky_relu" else f"nonlinearity={nonlinearity}",
    ]
    return _call(f"kaiming_{distribution}", *told)


def unknown(what: str, name: Any, known: Sequence[str]) -> RuleError:
    hint = did_you_mean(str(name), known) or f"there are {', '.join(sorted(known))}"
    return refusal("unknown-initializer", f"{what} has no initializer `{name!s:.100}` that could be converted", hint)


# ---- mmengine


def shape_call(a: Arguments) -> str:
    return a.word("distribution", "normal", ("normal", "uniform"))


def quoted_name(text: str) -> str:
    """A text as a rule file writes it."""
    for c in text:
        if "\ud800" <= c <= "\udfff":
            raise refusal("bad-settings", f"no rule file can hold the character U+{ord(c):04X} of a name")
    return quoted(text)
