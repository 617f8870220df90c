"""Calls of other libraries as calls of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from initdsl.initializers.fans import Nonlinearity
from initdsl.language.syntax.literals import LARGEST_INT
from initdsl.text.diagnostic import Diagnostic, RuleError
from initdsl.text.wording import did_you_mean, exact_number, quoted

__all__ = ["GAINS", "Arguments", "kaiming", "number_text", "quoted_name", "refusal", "shape_call", "unknown"]


def refusal(name: str, message: str, hint: str | None = None) -> RuleError:
    """Return the error that says what can't be converted."""
    return RuleError(Diagnostic(name, message, hint=hint))


def number_text(value: object, name: str = "a value") -> str:
    """Return a number as a rule file writes it. Raises RuleError for anything else, which it calls `name`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refusal("bad-argument", f"{name} must be a number, got {value!r:.200}")
    if isinstance(value, int) and abs(value) > LARGEST_INT:
        raise refusal("bad-argument", f"{name} needs more than 64 bits")
    return exact_number(value)


class Arguments:
    """The arguments of one initializer, each taken once; one that is not taken is an error.

    `initializer` is the name it has in the other library, `rest` what is not yet taken.
    """

    def __init__(self, initializer: str, values: Mapping[str, Any]):
        self.initializer, self.rest = initializer, dict(values)

    def take(self, name: str, default: Any) -> Any:
        """Return the value of an argument, which may be anything, or the default."""
        return self.rest.pop(name, default)

    def number(self, name: str, default: float | None = None) -> str:
        """Return an argument that is a number as a rule file writes it; without a default it has to be given."""
        if default is None and name not in self.rest:
            raise refusal("bad-argument", f"`{self.initializer}` needs `{name}`")
        return number_text(self.take(name, default), f"`{name}` of `{self.initializer}`")

    def word(self, name: str, default: str, allowed: Sequence[str]) -> str:
        """Return an argument that is one of some words."""
        value = self.take(name, default)
        if value not in allowed:
            raise refusal(
                "bad-argument", f"`{name}` of `{self.initializer}` is one of {', '.join(allowed)}, not {value!r:.200}"
            )
        return str(value)

    def done(self) -> None:
        """Refuse what was not taken."""
        if self.rest:
            raise refusal("unknown-argument", f"`{self.initializer}` has no argument `{next(iter(self.rest))}`")


GAINS: tuple[str, ...] = get_args(Nonlinearity)


MODES = ("fan_in", "fan_out")


def _call(name: str, *arguments: str) -> str:
    return f"{name}({', '.join(a for a in arguments if a)})"


def kaiming(a: Arguments, distribution: str, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> str:
    """Return the call of `kaiming_normal` or `kaiming_uniform`, with the defaults of the other library."""
    slope, mode = a.number("a", 0), a.word("mode", mode, MODES)
    nonlinearity = a.word("nonlinearity", nonlinearity, GAINS)
    given = [f"a={slope}" if slope not in ("0", "0.0") and nonlinearity == "leaky_relu" else ""]
    given += [
        "" if mode == "fan_in" else f"mode={mode}",
        "" if nonlinearity == "leaky_relu" else f"nonlinearity={nonlinearity}",
    ]
    return _call(f"kaiming_{distribution}", *given)


def unknown(library: str, name: object, names: Sequence[str]) -> RuleError:
    """Return the error for an initializer that is none of a library's `names`."""
    hint = did_you_mean(str(name), names) or f"there are {', '.join(sorted(names))}"
    return refusal("unknown-initializer", f"{library} has no initializer `{name!s:.100}` that could be converted", hint)


def shape_call(a: Arguments) -> str:
    """Return the argument `distribution`: `normal` or `uniform`."""
    return a.word("distribution", "normal", ("normal", "uniform"))


def quoted_name(text: str) -> str:
    """Return a text as a rule file writes it. Raises RuleError for a character that none can hold."""
    for c in text:
        if "\ud800" <= c <= "\udfff":
            raise refusal("bad-settings", f"no rule file can hold the character U+{ord(c):04X} of a name")
    return quoted(text)
