"""One draw for everything, norms and biases included.

## What it does
Finds draws for the `weight` (or for any parameter) of all classes, where no later rule speaks of norms (or of biases, if
those are drawn too), and no predicate leaves vectors out.

## Why is this bad
The weight of a norm is a scale and starts at 1. Drawn like a matrix, with mean 0, it takes most of the signal away. A
bias starts at 0.

## Example
```init
*.weight ~ normal(0, 0.02)
```

## Use instead
```init
*.*(ndim>=2) ~ normal(0, 0.02)
```

## Source
espnet 4555, 3706: a test for one dimension, meant for biases, also took the weights of norms.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from initdsl.language.syntax.nodes import Assign, ClassPattern, Default, Keep, Regex, Step
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.statements import Placed
from initdsl.linter.targets import Target
from initdsl.text.diagnostic import Diagnostic

NORMS = r"(?i)norm|\bln|\bbn|_ln\b|_bn\b|\bgdn|ndim"


BIASES = r"(?i)bias|ndim"


# what is left of a regular expression that says next to nothing
ANY, WEIGHTS = ("", ".", ".+"), ("weight", r"\.weight", "weight.*", r"\.weight.*")


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    for placed in file.statements:
        rule = placed.rule
        if not isinstance(rule, Assign) or rule.operator != "~" or not placed.sets_base:
            continue
        globs = {_glob_of_all(target) for target in placed.targets or ()} - {None}
        if not globs:
            continue
        spoken_of = [p for p in file.everything if p.order > placed.order]
        norms = not any(_speaks_of(later, NORMS) for later in spoken_of)
        biases = "*" in globs and not any(_speaks_of(later, BIASES) for later in spoken_of)
        if norms or biases:
            drawn = " and ".join(["the weights of norms"] * norms + ["biases"] * biases)
            rules = ", ".join(["`*Norm*.weight = 1`"] * norms + ["`*.bias = 0`"] * biases)
            yield file.finding(
                rule.targets,
                f"this draws {drawn} as it draws matrices",
                f"set those below it, as in {rules}, or select `*.*(ndim>=2)`",
            )


def _speaks_of(placed: Placed, words: str) -> bool:
    selectors = [block.targets for block in placed.blocks]
    if isinstance(placed.rule, Assign | Keep | Default):
        selectors.append(placed.rule.targets)
    return any(re.search(words, placed.source[selector.span]) for selector in selectors)


def _glob_of_all(target: Target) -> Literal["weight", "*"] | None:
    """Return what a target takes of every module, weights or any parameter; `None` where it takes less."""
    base = target.base
    if target.within:
        return None
    if isinstance(base, Regex):
        rest = base.pattern.removeprefix("^").removeprefix(".*").removesuffix("$").removesuffix(".*")
        return "*" if rest in ANY else "weight" if rest in WEIGHTS else None
    last = base.steps[-1] if base.steps and base.view is None else None
    if not isinstance(last, Step) or last.predicates or last.name not in ("weight", "*", "**"):
        return None
    if isinstance(base.root, ClassPattern):
        everywhere = base.root.name == "*" and not base.root.predicates and len(base.steps) == 1
    else:
        any_path = all(isinstance(s, Step) and s.name == "**" and not s.predicates for s in base.steps[:-1])
        everywhere = base.root == "net" and any_path and (len(base.steps) > 1 or last.name == "**")
    if not everywhere:
        return None
    return "weight" if last.name == "weight" else "*"
