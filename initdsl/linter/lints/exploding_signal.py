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

from ...diagnostic import Diagnostic
from ..file import File
from ..frame import lint
from ..network import chain_gain

if TYPE_CHECKING:
    from ...plans import Plan


@lint(needs="network")
def check(file: File, plan: Plan) -> Iterator[Diagnostic]:
    seen = set()
    for module in plan.network.modules:
        found = chain_gain(plan.network, plan, module)
        if found is None:
            continue
        gain, layers = found
        base = layers[0].base
        if (
            gain > 1e3
            and base is not None
            and base.clause.rule.source == file.source.name
            and base.clause.number not in seen
        ):
            seen.add(base.clause.number)
            yield file.finding(
                base.clause.targets,
                f"through the {len(layers)} layers of `{module.label}` the signal grows by a factor of {gain:.1g}",
                "`xavier_normal()` keeps its size under tanh, `kaiming_normal(nonlinearity=relu)` under ReLU",
            )
