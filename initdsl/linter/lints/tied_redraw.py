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

from initdsl.language.syntax.nodes import Assign, Path, Tie
from initdsl.linter.definition import lint
from initdsl.linter.file import File, Placed, label
from initdsl.linter.targets import Target, targets_of
from initdsl.text.diagnostic import Diagnostic


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    ties = [p for p in file.everything if isinstance(p.rule, Tie)]
    rules = [p for p in file.everything if ties and p.sets_base and isinstance(p.rule, Assign) and _one(p) is not None]
    for tie in ties:
        assert isinstance(tie.rule, Tie)
        groups = [targets_of(operand, tie.outer if tie.blocks else None) for operand in tie.rule.operands]
        operands = [group[0] for group in groups if group and len(group) == 1]
        last: Placed | None = None
        for placed in rules:
            if not any(_inside(_one(placed), operand) for operand in operands):
                continue
            if (
                last is not None
                and last.here
                and _one(last) != _one(placed)
                and _name(last, operands) == _name(placed, operands)
            ):
                yield file.finding(
                    last.rule, "this parameter is tied to one that a later rule fills", "keep one of the two rules",
                    labels=(label(placed, "this one wins"), label(tie, "tied here")),
                )  # fmt: skip
            last = placed


def _one(placed: Placed) -> Target | None:
    targets = placed.targets
    return targets[0] if targets and len(targets) == 1 and _plain(targets[0]) else None


def _plain(target: Target) -> bool:
    base = target.base
    return isinstance(base, Path) and base.root == "net" and not target.within and base.view is None


def _inside(target: Target | None, operand: Target) -> bool:
    if target is None or not _plain(operand):
        return False
    steps = getattr(operand.base, "steps", ())
    return bool(getattr(target.base, "steps", ())[: len(steps)] == steps)


def _name(placed: Placed, operands: list[Target]) -> object:
    """The steps below the operand: which of its parameters a rule fills."""
    target = _one(placed)
    for operand in operands:
        if target is not None and _inside(target, operand):
            return getattr(target.base, "steps", ())[len(getattr(operand.base, "steps", ())) :]
    return placed
