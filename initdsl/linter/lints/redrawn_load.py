"""Loaded values that a later rule draws over.

## What it does
Finds a `load` into part of the model, and below it a rule that draws for every module of a class, there as well.
Against a model also rules over parameters that transformers read from a checkpoint (`_is_hf_initialized`), with their
count.

## Why is this bad
The last rule wins. A rule for all `Linear` below `net.backbone = load(...)` draws the backbone's over again.

## Example
```init
net.backbone = load("backbone.safetensors")
Linear.weight ~ normal(0, 0.02)
```

## Use instead
```init
Linear.weight ~ normal(0, 0.02)
net.backbone = load("backbone.safetensors")
```

## Source
mmengine 691, transformers 35141, 46620: loaded weights are drawn over.
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.language.syntax.nodes import Assign, Call, ClassPattern
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.statements import Placed, label
from initdsl.linter.targets import Target
from initdsl.text.diagnostic import Diagnostic


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    loads: list[Placed] = []
    for placed in file.everything:
        rule = placed.rule
        if not isinstance(rule, Assign):
            continue
        targets = placed.targets or ()
        if isinstance(rule.value, Call) and rule.value.function == "load":
            if placed.here and all(t.root == "net" and t.name not in ("weight", "bias") for t in targets):
                loads.append(placed)
        elif rule.operator == "~" and placed.sets_base and any(_is_of_any_module(target) for target in targets):
            for load in loads:
                yield file.finding(
                    load.rule,
                    "a later rule draws over some of what is loaded here",
                    "load below it, or keep it out with `not in`",
                    labels=(label(placed, "this one"),),
                )
            loads.clear()


def _is_of_any_module(target: Target) -> bool:
    """Tell whether a target takes all modules of a class, wherever they are."""
    return isinstance(target.root, ClassPattern) and not target.within and not target.root.predicates
