"""Two rules for one tied parameter.

## What it does
Finds a rule for one operand of a `tie` and a later, different rule for another.

## Why is this bad
Tied parameters are one parameter. The last rule that selects any of its names fills it, so the first of the two does
nothing: an embedding starts with the standard deviation of the head.

## Example
```init
tie net.embed.weight net.head.weight
net.embed.weight ~ normal(0, 0.02)
net.head.weight ~ normal(0, 1)
```

## Use instead
```init
tie net.embed.weight net.head.weight
net.embed.weight ~ normal(0, 0.02)
```

## Source
fastai 2090, torchtitan 2342, mup 55: a tied weight is drawn again with the other layer's standard deviation.
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.language.syntax.nodes import Assign, Index, Path, Step, Tie
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.statements import Placed, label
from initdsl.linter.targets import Target, targets_of
from initdsl.text.diagnostic import Diagnostic

Steps = tuple[Step | Index, ...]


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    bases = [p for p in file.everything if p.sets_base and isinstance(p.rule, Assign)]
    rules = [(placed, path) for placed in bases if (path := _one_path(placed.targets)) is not None]
    for tie in file.everything:
        if not isinstance(tie.rule, Tie):
            continue
        paths = [_one_path(targets_of(operand, tie.outer)) for operand in tie.rule.operands]
        operands = [path.steps for path in paths if path is not None]
        last: tuple[Placed, Target, Steps] | None = None
        for placed, path in rules:
            tied = [path.steps[len(steps) :] for steps in operands if path.steps[: len(steps)] == steps]
            if not tied:
                continue
            if last is not None and last[0].here and last[1] != path and last[2] == tied[0]:
                yield file.finding(
                    last[0].rule,
                    "this parameter is tied to one that a later rule fills",
                    "keep one of the two rules",
                    labels=(label(placed, "this one wins"), label(tie, "tied here")),
                )
            last = placed, path, tied[0]


def _one_path(targets: tuple[Target, ...] | None) -> Target | None:
    """Return the one path from the root that targets are."""
    if targets is None or len(targets) != 1:
        return None
    target = targets[0]
    is_plain = isinstance(target.base, Path) and target.base.view is None and not target.within
    return target if is_plain and target.root == "net" else None
