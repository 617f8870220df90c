"""One draw for everything, norms and biases included.

## What it does
Finds draws for the `weight` (or for any parameter) of all classes, where no later rule speaks of norms, and no predicate
leaves vectors out.

## Why is this bad
The weight of a norm is a scale and starts at 1. Drawn like a matrix, with mean 0, it takes most of the signal away.

## Example
```init
*.weight ~ normal(0, 0.02)
```

## Use instead
```init
*.*(ndim>=2) ~ normal(0, 0.02)
```

## Source
espnet 4555, 3706: norms treated as something else because of their rank.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...diagnostic import Diagnostic
from ...nodes import Assign, ClassPattern, Default, Keep, Path, Step
from ..file import File, Placed
from ..frame import lint
from ..targets import Target

NORMS = r"(?i)norm|\bln|\bbn|_ln\b|_bn\b|\bgdn"


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    found = [placed for placed in file.statements if _draws_for_all(placed)]
    last = max((p.order for p in file.everything if _speaks_of_norms(p)), default=-1) if found else -1
    for placed in found:
        rule = placed.rule
        if isinstance(rule, Assign) and placed.order > last:
            yield file.finding(
                rule.targets, "this draws the weights of norms as it draws matrices",
                "set those below it, as in `*Norm*.weight = 1`, or select `*.*(ndim>=2)`",
            )  # fmt: skip


def _draws_for_all(placed: Placed) -> bool:
    rule = placed.rule
    if not isinstance(rule, Assign) or rule.operator != "~" or not placed.sets_base:
        return False
    return any(_takes_all(target) for target in placed.targets or ())


def _speaks_of_norms(placed: Placed) -> bool:
    selectors = [block.targets for block in placed.blocks]
    if isinstance(placed.rule, Assign | Keep | Default):
        selectors.append(placed.rule.targets)
    return any(re.search(NORMS, placed.source[selector.span]) for selector in selectors)


def _takes_all(target: Target) -> bool:
    base = target.base
    if not isinstance(base, Path) or target.within or not base.steps or base.view is not None:
        return False
    last = base.steps[-1]
    if not isinstance(last, Step) or last.predicates or last.name not in ("weight", "*", "**"):
        return False
    if isinstance(base.root, ClassPattern):
        return base.root.name == "*" and not base.root.predicates and len(base.steps) == 1
    return (
        base.root == "net"
        and all(isinstance(s, Step) and s.name == "**" and not s.predicates for s in base.steps[:-1])
        and (len(base.steps) > 1 or last.name == "**")
    )
