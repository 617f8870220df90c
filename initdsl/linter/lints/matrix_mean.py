"""A matrix that is drawn around a number other than 0.

## What it does
Finds draws for the weight of a layer that multiplies matrices (`Linear`, `Conv2d`, `Embedding`, ...) whose mean is several
times their standard deviation: `normal(1, 0.02)`.

## Why is this bad
All elements are nearly the same number, so every output is nearly the sum of the inputs: the layer tells nothing apart.
Draws around 1 are for the scales of norms.

## Example
```init
Linear.weight ~ normal(1, 0.02)
```

## Use instead
```init
Linear.weight ~ normal(0, 0.02)
```

## Source
DCGAN's `normal_(1, 0.02)`, which is for BatchNorm, copied to the layers around it.
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.targets import MATRICES
from initdsl.linter.values import distribution_of, drawn_calls
from initdsl.text.diagnostic import Diagnostic

# a mean of so many standard deviations is no accident of a range that is not symmetric
MOST_DEVIATIONS = 4


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    for placed, rule, call in drawn_calls(file.statements):
        targets = placed.targets or ()
        if not any(t.class_name in MATRICES and t.name == "weight" and len(t.steps) == 1 for t in targets):
            continue
        values = distribution_of(call)
        if values is not None and values.std > 0 and abs(values.mean) > MOST_DEVIATIONS * values.std:
            message = f"the mean is {values.mean:g} and the standard deviation {values.std:.3g}: a matrix of nearly one number"
            yield file.finding(rule.value, message, "draw around 0; 1 is where the scale of a norm starts")
