"""How often `verify` errs without a seed: false alarms on models that follow their rules, misses on ones that don't.

    python benchmarks/verifying.py [--files N] [--seed S]

Every file is a model filled anew by torch's own generators; an alarm is a file said to have drifted. A miss is a
model whose first weight was changed after the fill, and of which nothing is said. Rates with their 95 % intervals
(Clopper & Pearson 1934).
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable

import torch
from torch import nn

import initdsl

RULES = {
    "normal": "net.*.weight ~ normal(0, 0.02)",
    "uniform": "net.*.weight ~ uniform(-1, 1)",
    "trunc_normal": "net.*.weight ~ trunc_normal(0, 1, -2, 2)",
    "rademacher": "net.*.weight ~ rademacher()",
    "expression": "net.*.weight ~ normal(0, 1) * 0.02 + uniform(-0.01, 0.01)",
    "slices": "net.*.weight ~ normal(0, 0.02); net.*.weight[:5] ~ uniform(-1, 1)",
}
CHANGES: dict[str, Callable[[torch.Tensor], object]] = {
    "std +5 %": lambda w: w.mul_(1.05),
    "std +20 %": lambda w: w.mul_(1.2),
    "std x 2": lambda w: w.mul_(2),
    "mean +0.1 std": lambda w: w.add_(0.1 * 0.02),
    "mean +0.5 std": lambda w: w.add_(0.5 * 0.02),
    "uniform of the same std": lambda w: w.uniform_(-0.02 * 3**0.5, 0.02 * 3**0.5),
    "a quarter drawn at half the std": lambda w: w[: len(w) // 4].mul_(0.5),
    "one element x 1000": lambda w: w[0, 0].mul_(1000),
}


def network(width: int, dtype: torch.dtype = torch.float32) -> nn.Module:
    return nn.Sequential(*[nn.Linear(width, width, bias=False, dtype=dtype) for _ in range(10)])


def drifted(net: nn.Module, rules: str) -> bool:
    return not initdsl.verify(net, rules)


def interval(count: int, total: int) -> str:
    """A share with its interval, in percent."""
    from scipy.stats import beta

    low = beta.ppf(0.025, count, total - count + 1) if count else 0.0
    high = beta.ppf(0.975, count + 1, total - count) if count < total else 1.0
    return f"{count / total:.2%} ({low:.2%} to {high:.2%})"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--files", type=int, default=200, help="models a row")
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    warnings.simplefilter("ignore")
    torch.manual_seed(chosen.seed)
    print("| rule | dtype | false alarms of 10 x 64 x 64 |\n|---|---|---|")
    for name, rules in RULES.items():
        for dtype in (torch.float32, torch.bfloat16):
            count = 0
            for _ in range(chosen.files):
                net = network(64, dtype)
                initdsl.apply(net, rules)
                count += drifted(net, rules)
            print(f"| {name} | {str(dtype)[6:]} | {interval(count, chosen.files)} |")
            sys.stdout.flush()
    print("\n| change of one weight of ten | missed, 16 x 16 | 64 x 64 | 256 x 256 |\n|---|---|---|---|")
    for name, change in CHANGES.items():
        cells = []
        for width in (16, 64, 256):
            missed = 0
            for _ in range(files := max(1, chosen.files // (4 if width == 256 else 1))):
                net = network(width)
                initdsl.apply(net, RULES["normal"])
                with torch.no_grad():
                    change(net[0].weight)  # type: ignore[index]
                missed += not drifted(net, RULES["normal"])
            cells.append(f"{missed / files:.1%}")
        print(f"| {name} | {' | '.join(cells)} |")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
