"""Words of other libraries, and of torch, that mean something here: what to write in their place."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from typing import get_args

from .fans import Nonlinearity

__all__ = ["activation_hint", "initializer_hint", "meant_initializer"]


# a name is proposed for another one from this likeness: `laplace` is no slip of the pen for `linspace`
LIKENESS = 0.75


NAMES = {
    "gaussian": "normal", "randn": "normal", "N": "normal", "rand": "uniform", "random": "uniform", "U": "uniform",
    "truncnorm": "trunc_normal", "msra": "kaiming_normal", "eye_": "eye", "full": "constant", "fill": "constant",
    "gain": "calculate_gain",
}  # fmt: skip


# activations for which torch knows no gain: what their networks are mostly initialized for
ACTIVATIONS = {
    "silu": "relu", "swish": "relu", "gelu": "relu", "mish": "relu", "elu": "relu", "celu": "relu", "relu6": "relu",
    "hardswish": "relu", "softplus": "relu", "glu": "sigmoid", "swiglu": "relu", "geglu": "relu", "reglu": "relu",
    "gelu_new": "relu", "quick_gelu": "relu", "squared_relu": "relu", "threshold": "relu", "softsign": "tanh",
    "hardtanh": "tanh", "tanhshrink": "tanh", "hardsigmoid": "sigmoid", "softmax": "sigmoid", "logsigmoid": "sigmoid",
    "prelu": "leaky_relu", "rrelu": "leaky_relu", "identity": "linear", "none": "linear",
}  # fmt: skip


def activation_hint(word: str) -> str | None:
    """Return what to write for an activation without a gain of its own; None for what is none."""
    near = ACTIVATIONS.get(word.lower())
    if near is None:
        return None
    given = "" if near == "linear" else f"torch has no gain for `{word}`: "
    return f"{given}take `{near}`" + ("" if near == "linear" else ", which is near it, or scale the draw yourself")


def meant_initializer(name: str, words: Collection[str]) -> str | None:
    """Return the one of `words` that a name is meant for: without torch's underscore, longer, another word for it, or alike.

    >>> meant_initializer("xavier", ["normal", "xavier_normal"])
    'xavier_normal'
    """
    bare = name.rstrip("_")
    if bare in words:
        return bare
    if NAMES.get(bare) in words:
        return NAMES[bare]
    longer = sorted(word for word in words if len(name) > 3 and word.startswith(bare))
    alike = get_close_matches(name, sorted(words), 1, LIKENESS)
    return next(iter([*longer, *alike]), None)


def initializer_hint(name: str, words: Collection[str]) -> str | None:
    """Return the hint that names what is meant by an initializer that is not there; None where nothing is near."""
    if name.replace("_", "") in ("lognormal", "lognorm"):
        return "write `exp(normal(mean, std))`"
    meant = meant_initializer(name, words)
    if meant is None and name.lower() in {*ACTIVATIONS, *get_args(Nonlinearity)}:
        near = ACTIVATIONS.get(name.lower(), name.lower())
        return f"`{name}` is an activation: `kaiming_normal(nonlinearity={near})` suits it"
    return None if meant is None else f"did you mean `{meant}`?"
