"""Hypothesis strategies for models, and for rule files that fit them: what a statement selects is there.

What a statement writes to is worked out here, from the model alone, and by nothing of the package.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import nn

from tests.support.nets import build

__all__ = ["Case", "Fitting", "Rule", "cases", "network_shapes"]

network_shapes = st.recursive(
    st.sampled_from(["batch", "conv", "embed", "fancy", "linear", "lstm", "norm", "relu"]),
    lambda inner: st.tuples(
        st.sampled_from(["seq", "list", "dict", "named", "pair"]), st.lists(inner, min_size=1, max_size=3)
    ),
    max_leaves=7,
)


@dataclass(frozen=True)
class Rule:
    """A statement. `writes` are the tensors it says something of, `None` where ties or names are its business."""

    text: str
    writes: frozenset[str] | None = None
    whole: str | None = None  # its selector, where it gives whole tensors a new base


@dataclass(frozen=True)
class Case:
    """A model and rules that fit it."""

    shape: Any
    rules: tuple[Rule, ...]

    @property
    def text(self) -> str:
        return "\n".join(rule.text for rule in self.rules)

    def net(self) -> nn.Module:
        """The model, always of the same bits, with modes, flags and hooks to be lost."""
        return made(self.shape)


def made(shape: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(11)
        net = build(shape)
    for number, module in enumerate(net.modules()):
        module.training = number % 2 == 0
        module.register_forward_hook(_hook)
    for number, parameter in enumerate(net.parameters()):
        parameter.requires_grad = number % 4 != 3
    return net


def _hook(module: nn.Module, arguments: Any, result: Any) -> None:
    """Does nothing."""


class Fitting:
    """The statements that fit one model."""

    def __init__(self, net: nn.Module):
        self.net = net
        self.tensors = dict(net.named_parameters())
        self.modules = dict(net.named_modules())

    def owner(self, name: str) -> nn.Module:
        return self.modules[name.rpartition(".")[0]]

    def label(self, name: str) -> str:
        """A path, with `[0]` where a step is a number."""
        steps = name.split(".") if name else []
        return "net" + "".join(f"[{step}]" if step.isdigit() else f".{step}" for step in steps)

    def of_class(self, cls: type[nn.Module], last: str, inside: str = "") -> frozenset[str]:
        return frozenset(
            n
            for n in self.tensors
            if type(self.owner(n)) is cls
            and n.rpartition(".")[2] == last
            and (not inside or n.startswith(inside + "."))
        )

    def named(self, last: str) -> frozenset[str]:
        return frozenset(n for n in self.tensors if n.rpartition(".")[2] == last)

    def selectors(self, name: str) -> Iterator[tuple[str, frozenset[str]]]:
        """Selectors that hit one tensor, and all that each of them hits."""
        last = name.rpartition(".")[2]
        cls = type(self.owner(name))
        kin = self.of_class(cls, last)
        steps = name.split(".")
        yield self.label(name), frozenset([name])
        yield f"{cls.__name__}.{last}", kin
        yield f"{cls.__name__[:3]}*.{last}(ndim={self.tensors[name].ndim})", frozenset(
            n for n in self.named(last)
            if type(self.owner(n)).__name__.startswith(cls.__name__[:3])
            and self.tensors[n].ndim == self.tensors[name].ndim
        )  # fmt: skip
        yield f"{cls.__name__}+.{last}", frozenset(n for n in self.named(last) if isinstance(self.owner(n), cls))
        yield f"*.{last}", self.named(last)
        yield f"net.**.{last}", self.named(last)
        yield f"/^{re.escape(name)}$/", frozenset([name])
        yield "*.*(ndim>=2)?", frozenset(n for n, t in self.tensors.items() if t.ndim >= 2)
        yield f"({cls.__name__}.{last}, {self.label(name)})", kin
        for depth in range(1, len(steps) - 1):
            around = ".".join(steps[:depth])
            yield f"{cls.__name__}.{last} in {self.label(around)}", self.of_class(cls, last, around)
            yield f"{cls.__name__}.{last} not in {self.label(around)}?", kin - self.of_class(cls, last, around)

    def fits(self, names: frozenset[str], least: int, most: int = 9) -> bool:
        return all(least <= self.tensors[n].ndim <= most for n in names)


ANY_DRAW = [
    "normal(0, 0.02)", "uniform(-1, 1)", "trunc_normal(std=0.5, a=-1, b=1)", "normal() * 0.5", "uniform() + index(0)",
    "normal(0, 1 / sqrt(numel))", "uniform(-let0, let0)", "trunc_normal_sd(0, 0.3)",
]  # fmt: skip
FAN_DRAW = [
    "xavier_uniform()", "xavier_normal(gain=2)", "kaiming_normal(mode=fan_out, nonlinearity=relu)", "lecun_normal()",
    "orthogonal()", "normal(0, 1 / sqrt(fan_in))", "variance_scaling()",
]  # fmt: skip
ANY_VALUE = ["0", "1.5", "zeros()", "ones()", "constant(0.25)", "let0 * 2", "shape[0] / 4", "index(0) * 0.5"]
EDITS = ["*= 0.5", "+= 1", "-= normal(0, 0.01)", "/= let0", "*= abs(it) >= 0.1", "= it * 2", "+= index(0)"]
SLICES = ["[0]", "[-1]", "[:1]", "[..., 0]", "[::2]"]
DEFAULTS = (nn.Linear, nn.LayerNorm, nn.BatchNorm1d, nn.Embedding, nn.Conv1d, nn.LSTM)


@st.composite
def _rule(draw: Any, fitting: Fitting) -> Rule:
    name = draw(st.sampled_from(sorted(fitting.tensors)))
    selector, names = draw(st.sampled_from(list(fitting.selectors(name))))
    tensor, kind = fitting.tensors[name], draw(st.integers(0, 19))
    values = ANY_DRAW + (FAN_DRAW if fitting.fits(names, 2) else []) + (["sparse(0.5)"] * fitting.fits(names, 2, 2))
    sets = ANY_VALUE + ["eye()"] * fitting.fits(names, 2, 2)
    if kind < 6:
        return Rule(f"{selector} ~ {draw(st.sampled_from(values))}", names, selector)
    if kind < 9:
        return Rule(f"{selector} = {draw(st.sampled_from(sets))}", names, selector)
    if kind < 12:
        return Rule(f"{selector} {draw(st.sampled_from(EDITS))}", names)
    if kind < 14:
        return draw(_piece(fitting, name))
    if kind == 14:
        return Rule(f"keep {selector}", names, selector)
    if kind == 15 and isinstance(fitting.owner(name), DEFAULTS):
        return Rule(f"default {fitting.label(name)}", frozenset([name]), fitting.label(name))
    if kind == 16:
        around = draw(st.sampled_from([m for m in fitting.modules if not m or name.startswith(m + ".")]))
        cls, last = type(fitting.owner(name)), name.rpartition(".")[2]
        value = draw(st.sampled_from(ANY_DRAW[:-1]))
        text = (
            f"{fitting.label(around)} {{\n  {cls.__name__}.{last} ~ {value}\n  let own = 0.5\n  .**.{last} *= own\n}}"
        )
        inside = frozenset(n for n in fitting.named(last) if not around or n.startswith(around + "."))
        return Rule(text, inside)
    alike = [n for n, t in fitting.tensors.items() if t.shape == tensor.shape and n < name]
    if kind in (17, 18) and alike:
        other = draw(st.sampled_from(alike))
        return Rule(f"{draw(st.sampled_from(['tie', 'copy']))} {fitting.label(name)} {fitting.label(other)}")
    if kind == 19 and name < max(fitting.tensors):
        other = draw(st.sampled_from([n for n in fitting.tensors if n > name]))
        read = draw(st.sampled_from(["mean", "sum"]))
        return Rule(
            f"{fitting.label(name)} = clip({read}({fitting.label(other)}), -1, 1)",
            frozenset([name]),
            fitting.label(name),
        )
    return Rule(f"{fitting.label(name)} ~ normal()", frozenset([name]), fitting.label(name))


@st.composite
def _piece(draw: Any, fitting: Fitting, name: str) -> Rule:
    label, last = fitting.label(name), name.rpartition(".")[2]
    cls = type(fitting.owner(name))
    selector, names = draw(
        st.sampled_from([(label, frozenset([name])), (f"{cls.__name__}.{last}", fitting.of_class(cls, last))])
    )
    piece = draw(st.sampled_from([*SLICES, "[*]", " as (-1)[0]", " as (1, -1)[*]"]))
    return Rule(
        f"{selector}{piece} {draw(st.sampled_from(['= 3', '~ normal()', '~ uniform(-1, 1) * 2', '*= 2']))}", names
    )


@st.composite
def cases(draw: Any, least: int = 1, most: int = 8) -> Case:
    """Models with parameters, and `least` to `most` rules behind a `let`."""
    shape = draw(network_shapes.filter(lambda shape: any(True for _ in made(shape).parameters())))
    fitting = Fitting(made(shape))
    rules = draw(st.lists(_rule(fitting), min_size=least, max_size=most))
    if any(
        rule.text.startswith("tie ") for rule in rules
    ):  # with a tie, reading another tensor may go round in a circle
        rules = [rule for rule in rules if "clip(" not in rule.text and not rule.text.startswith("copy ")]
    return Case(shape, (Rule("let let0 = 0.25"), *rules))
