"""Forms of rules that could multiply, put into one another and run against models that grow: what grows faster than both.

`python -m tests.support.products` lists every pair of forms whose work more than quadruples where the model doubles, or
that takes more than some seconds.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from torch import nn

import initdsl
from initdsl.network.description import Network

# forms that hold another text, by what they repeat; `#` is where that stands and `%` a number of their own
BLOCKS = [
    "* { # }",
    "Sequential { # }",
    "net.** { # }",
    "net.**[i%] { # }",
    ".** { # }",
    "*, * { # }",
    "(* in *) { # }",
    "let a% = 1; * { # }",
    "[*] { # }",
]
CHAINS = [
    " in *",
    " in net.**",
    " in net.**[i%]",
    " in (*, *)",
    " not in net.**.a",
    " in *.*",
    " in Sequential(training)",
]
STEPS = [".**", ".*", "[*]", ".**[i%]", ".**[*]", ".*.*"]
SUMS = [
    "a% + a%",
    "[a%, a%]",
    "(a%, a%)",
    "min(a%, a%)",
    "a% if a% > 0 else a%",
    "sum([a%, a%])",
    "a% * it",
    "net.**.b",
    "len(*)",
]
STATEMENTS = [
    "Linear.bias = 0",
    "*.bias ~ normal(0, training)",
    "tie Linear.bias Linear.bias",
    "copy *.bias *.bias",
    "keep *",
    "default *",
    "expect * covered",
    "*.**.bias? += in_features",
]


class Case(NamedTuple):
    """A text and the name of the forms it is made of."""

    name: str
    text: str


def cases(depth: int) -> Iterator[Case]:
    """Yield texts in which two forms stand in each other in turn, `depth` times."""
    for (one, other), statement in itertools.product(itertools.product(BLOCKS, BLOCKS), STATEMENTS):
        text = statement
        for level in range(depth):
            text = (one if level % 2 else other).replace("#", text).replace("%", str(level))
        yield Case(f"{one} {other} {statement}", text)
    for one, other, statement in itertools.product(
        CHAINS, CHAINS, ("*.bias{} = 0", "keep *{}", "tie *.bias{} net.**.bias")
    ):
        chain = "".join((one if level % 2 else other).replace("%", str(level)) for level in range(depth))
        yield Case(f"{statement} {one} {other}", statement.format(chain))
    for root, one, other, statement in itertools.product(
        ("net", "*"), STEPS, STEPS, ("{}.bias? = 0", "keep {}?", "{}.bias? = len(*)")
    ):
        steps = "".join((one if level % 2 else other).replace("%", str(level)) for level in range(depth))
        yield Case(f"{statement} {root} {one} {other}", statement.format(root + steps))
    for form, use in itertools.product(
        SUMS,
        ("Linear.bias = {}", "Linear.bias[*] = {}", "* {{ Linear.bias = {} }}", "Linear(out_features={}).bias? = 0"),
    ):
        lets = ["let a0 = 1"]
        lets += [f"let a{level + 1} = {form.replace('%', str(level))}" for level in range(4 * depth)]
        yield Case(f"{form} {use}", "\n".join([*lets, use.format(f"a{4 * depth}")]))


def chain(size: int) -> nn.Module:
    net: nn.Module = nn.Linear(2, 2)
    for level in range(size):
        net = nn.Sequential(*[nn.Identity() for _ in range(level % 3)], net)
    return net


def tree(size: int) -> nn.Module:
    level: list[nn.Module] = [nn.Linear(2, 2) for _ in range(size)]
    while len(level) > 1:
        level = [nn.Sequential(*level[i : i + 3]) for i in range(0, len(level), 3)]
    return level[0]


NETS: dict[str, Callable[[int], nn.Module]] = {"chain": chain, "tree": tree}


def seconds(network: Network, text: str) -> tuple[float, str]:
    """Return the CPU time of a plan, and how it ended."""
    began = time.process_time()
    try:
        initdsl.plan(network, text)
        ended = "a plan"
    except initdsl.InitDSLError as error:
        ended = error.diagnostics[0].name
    return time.process_time() - began, ended


def main() -> None:
    most = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    step = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    worst: list[tuple[float, str]] = []
    for name, make in NETS.items():
        small, large = (initdsl.describe(make(size))[0] for size in (30, 60))
        for case in itertools.islice(cases(16), 0, None, step):
            first, _ = seconds(small, case.text)
            second, ended = seconds(large, case.text)
            worst.append((second, f"{name} {ended} {case.name}"))
            if second > most or (second > 0.5 and second > 5 * first):
                print(f"{name}: {first:.2f} s, {second:.2f} s, {ended}: {case.name}", flush=True)
    for took, what in sorted(worst, reverse=True)[:10]:
        print(f"{took:.2f} s {what}")
    print(f"{len(worst)} texts, {sum(took for took, _ in worst):.0f} s")


if __name__ == "__main__":
    main()
