"""What a plan remarks on: fans that are known to be wrong for what a tensor is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from initdsl.initializers import Initializer, parameters_of
from initdsl.language.syntax.nodes import Call

from .actions import Action

__all__ = ["fans_read", "wrong_fan"]


def fans_read(initializer: Initializer | None, call: Call) -> frozenset[str]:
    """The fans that a call reads off the shape: both where its mode is a mean, or can't be seen."""
    if initializer is None or not initializer.elementwise or initializer.parameter("fan_in") is None:
        return frozenset()
    keywords = [a.name for a in call.arguments if a.name is not None]
    names = parameters_of(initializer, len(call.arguments) - len(keywords), keywords)
    given = dict(zip(names, call.arguments, strict=True))
    if given.keys() & {"fan", "fan_in", "fan_out"}:
        return frozenset()
    both = frozenset(name for name in ("fan_in", "fan_out") if initializer.parameter(name) is not None)
    mode = initializer.parameter("mode")
    if mode is None:
        return both
    word = (
        getattr(given["mode"].value, "name", getattr(given["mode"].value, "value", None))
        if "mode" in given
        else mode.default
    )
    return frozenset([word]) if word in both else both


CONVOLUTIONS = ("Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d")


@dataclass(frozen=True)
class WrongFan:
    """Why torch's fans of a tensor are not its layer's, and what to write instead."""

    reason: str
    hint: str
    name: str = "doubtful-fan"


def wrong_fan(cls: Any, module: Any, action: Action, read: frozenset[str]) -> WrongFan | None:
    """What is wrong with the fans that an action reads off its tensor, if it makes a difference.

    What reads both alike gets the same from fans that are swapped, and a convolution with groups has its right fan_in.
    """
    names = {cls.name, *(base.name for base in cls.bases)}
    ndim = len(action.shape)
    if action.index is not None or action.view is not None:
        return None
    if ndim == 2 and cls.name == "Conv1D":
        if len(read) == 2:
            return None
        return WrongFan(
            "its layer stores (in, out), so fan_in and fan_out are swapped", "write `fan_in=fan_out, fan_out=fan_in`"
        )
    convolution = any(name in names for name in CONVOLUTIONS)
    if ndim == 3 and not convolution:
        return WrongFan("a stack of matrices is read as a convolution", "`[*]` fills each matrix by itself")
    groups = module.attribute("groups") if convolution else 1
    grouped = isinstance(groups, int) and groups > 1
    if convolution and any("Transpose" in name for name in names) and (grouped or len(read) == 1):
        inputs = "fan_out // groups" if grouped else "fan_out"
        return WrongFan(
            "a transposed convolution has its fans swapped", f"write `fan_in={inputs}, fan_out=fan_in`"
        )  # fmt: skip
    if grouped and "fan_out" in read:
        return WrongFan(
            "fan_out of a grouped convolution counts all groups", "`fan_out=fan_out // groups` counts one", "depthwise-fan"
        )  # fmt: skip
    return None
