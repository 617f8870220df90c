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
from ...nodes import Assign, ClassPattern, Path, Step
from ..file import File, Placed
from ..frame import lint
from ..targets import Target

NORMS = re.compile(r"norm|\\bln|\\bbn|_ln\\b|_bn\\b|\\bGDN", re.IGNORECASE)


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    last = max((p.order for p in file.everything if _speaks_of_norms(p)), default=-1)
    for placed in file.statements:
        rule = placed.rule
        if not isinstance(rule, Assign) or rule.operator != "~" or placed.order < last or not placed.sets_base:
            continue
        if any(_takes_all(target) for target in placed.targets or ()):
            yield file.finding(
                rule.targets, "this draws the weights of norms as it draws matrices",
                "set those below it, as in `*Norm*.weight = 1`, or select `*.*(ndim>=2)`",
            )  # fmt: skip


def _speaks_of_norms(placed: Placed) -> bool:
    rule = placed.rule
    selector = getattr(rule, "targets", None)
    return (selector is not None and NORMS.search(placed.source[selector.span]) is not None) or any(
        NORMS.search(placed.source[block.targets.span]) for block in placed.blocks
    )


def _takes_all(target: Target) -> bool:
    base = target.base
    if not isinstance(base, Path) or target.within or not base.steps or base.view is not None:
        return False
    last = base.steps[-1]
    if not isinstance(last, Step) or last.predicates or last.name not in ("weight", "*", "**"):
        return False
    if isinstance(base.root, ClassPattern):
        return base.root.name == "*" and not base.root.predicates and len(base.steps) == 1
    return base.root == "net" and all(isinstance(s, Step) and s.name == "**" and not s.predicates for s in base.steps[:-1]) and (
        len(base.steps) > 1 or last.name == "**"
    )
