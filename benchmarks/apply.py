"""Whole models against hand-written code, the resolver on many rules and parameters, the parser on a long file."""

from __future__ import annotations

import os
import warnings

import torch
from networks import BY_CLASS, GPT, MIXED, RESNET, gpt2_small, gpt_by_hand, resnet50, resnet_by_hand
from side_by_side import Row, compare, faster, seconds, table
from torch import nn

import initdsl
from initdsl.network.describe import describe


def unseeded(rounds: int) -> list[Row]:
    rows = []
    for name, net, text, by_hand in (
        ("GPT-2-small", gpt2_small(), GPT, gpt_by_hand),
        ("ResNet-50", resnet50(), RESNET, resnet_by_hand),
    ):
        rules = initdsl.parse(text)
        mine, other, ratio = compare(
            lambda net=net, rules=rules: initdsl.apply(net, rules), lambda net=net, f=by_hand: net.apply(f), rounds
        )
        case = f"unseeded apply, {name} shapes, to hand-written"
        rows.append(Row(case, mine, other, "at most 1.03", f"{ratio:.3f}", ratio <= 1.03))
    return rows


def small(rounds: int) -> list[Row]:
    net = nn.Sequential(*(layer for _ in range(4) for layer in (nn.Linear(64, 64), nn.ReLU())))
    rules = initdsl.parse("Linear.weight ~ normal(0, 0.02); Linear.bias = 0")
    mine, other, _ = compare(lambda: initdsl.apply(net, rules), lambda: net.apply(gpt_by_hand), 20 * rounds)
    above = mine - other
    case = "plan + apply of a 4-layer MLP, above hand-written"
    return [Row(case, mine, other, "under 1 ms", f"{above * 1e3:.2f} ms", above < 1e-3)]


def built(rounds: int) -> list[Row]:
    """`materialize` beside constructing and filling by hand, with either engine."""
    rules = initdsl.parse(GPT)
    rows = []
    for engine in engines():

        def ours(engine: str = engine) -> object:
            os.environ["INITDSL_KERNEL"] = engine
            return initdsl.materialize(gpt2_small, rules, seed=0)

        case = f"materialize GPT-2 small, seeded, {engine}, to construct + hand-written"
        rows.append(faster(case, ours, lambda: gpt2_small().apply(gpt_by_hand), 5, rounds))
    os.environ.pop("INITDSL_KERNEL", None)
    return rows


def engines() -> list[str]:
    """The engines: the compiled kernel, and torch's operations, which fill where there is none."""
    return ["native", "torch"]


def resolver() -> list[Row]:
    with torch.device("meta"):
        net = nn.Sequential(*(nn.Linear(4, 4) for _ in range(50_000)))
    rows = []
    for name, rules in (("by class", initdsl.parse(BY_CLASS)), ("mixed selectors", initdsl.parse(MIXED))):
        took = min(seconds(lambda rules=rules: initdsl.plan(net, rules)) for _ in range(3))
        case = f"resolve 1 000 rules, {name}, against 100 000 parameters"
        rows.append(Row(case, took, 0, "under 2 s", f"{took:.2f} s", took < 2))
    described = min(seconds(lambda: describe(net)) for _ in range(3))
    rows.append(Row("of which describing the model", described, 0, "", "", None))
    return rows


def parser() -> list[Row]:
    text = (
        "Linear.weight ~ normal(0, 0.01)\nnet[2].weight = 42\ntie net[2] net[4]\nBlock.attn.proj.weight *= 0.5\n" * 2500
    )
    took = min(seconds(lambda: initdsl.parse(text)) for _ in range(3))
    return [Row("parse 10 000 rules", took, 0, "under 2 s", f"{took:.2f} s", took < 2)]


def rows(rounds: int = 7) -> list[Row]:
    """Every row of this file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [*unseeded(rounds), *small(rounds), *built(rounds), *resolver(), *parser()]


if __name__ == "__main__":
    print(table(rows()))


__all__ = ["engines", "rows"]
