"""Weights by which the signal grows layer by layer.

## What it does
Finds a `Sequential`, or a list of layers that fit each other, of at least three linear or convolutional layers and
nothing that normalizes, whose fans and standard deviations alone make the signal grow a thousandfold.

## Why is this bad
Activations and gradients grow together, and training does not start.

## Network
```python
net = nn.Sequential(*(layer for _ in range(5) for layer in (nn.Linear(64, 64, bias=False), nn.Tanh())))
```

## Example
```init
Linear.weight ~ normal(0, 1)
```

## Use instead
```init
Linear.weight ~ xavier_normal()
```

## Source
Glorot & Bengio 2010; He et al. 2015.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from initdsl.linter.chains import chains_by_rule
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.text.diagnostic import Diagnostic

if TYPE_CHECKING:
    from initdsl.planning.plan import Plan


@lint(needs="network")
def check(file: File, plan: Plan) -> Iterator[Diagnostic]:
    for rule, chain in chains_by_rule(file, plan, lambda gain: gain > 1e3):
        yield file.finding(
            rule.selector,
            f"through the {len(chain.weights)} layers of `{chain.module.label}` the signal grows by a factor of {chain.gain:.1g}",
            "`xavier_normal()` keeps its size under tanh, `kaiming_normal(nonlinearity=relu)` under ReLU",
        )
