"""A forget gate's bias set in both of its parts.

## What it does
Finds an LSTM whose `bias_ih` and `bias_hh` are both set to 1 (or more) in a slice.

## Why is this bad
torch adds the two. A forget bias of 1 in each starts the gate at 2.

## Example
```init
LSTM.bias_ih_l0[hidden_size:2 * hidden_size] = 1
LSTM.bias_hh_l0[hidden_size:2 * hidden_size] = 1
```

## Use instead
```init
LSTM.bias_ih_l0[hidden_size:2 * hidden_size] = 1
LSTM.bias_hh_l0 = 0
```

## Source
pytorch 166378: LSTM gates set as one; both biases of torch's LSTM add up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase

from initdsl.language.syntax.nodes import Path, Step
from initdsl.linter.definition import lint
from initdsl.linter.file import File, Placed, label
from initdsl.linter.targets import Target, is_piece
from initdsl.linter.values import set_to
from initdsl.text.diagnostic import Diagnostic

PARTS = ("bias_ih_l0", "bias_hh_l0")


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    seen: dict[Target, Placed] = {}
    for placed in file.statements:
        targets = [t for t in placed.targets or () if is_piece(t.base)]
        if len(targets) != 1 or (set_to(placed) or 0) < 1:
            continue
        target = targets[0]
        name = _name(target)
        if name is not None and "*" in name and all(fnmatchcase(part, name) for part in PARTS):
            yield file.finding(
                placed.rule,
                "this sets the bias in `bias_ih` and in `bias_hh`, which are added",
                "select `bias_ih_l*` alone",
            )
        elif name is not None and name.startswith(("bias_ih", "bias_hh")):
            other = name.replace("bias_ih", "bias_?h") if "ih" in name[:7] else name.replace("bias_hh", "bias_?h")
            same = _renamed(target, other)
            before = seen.setdefault(same, placed)
            if before is not placed and _name((before.targets or ())[0]) != name:
                yield file.finding(
                    placed.rule, "`bias_ih` and `bias_hh` are added, and both are set here", "set one, and the other to 0",
                    labels=(label(before, "the other"),),
                )  # fmt: skip


def _name(target: Target) -> str | None:
    base = target.base
    steps = [step for step in base.steps if isinstance(step, Step)] if isinstance(base, Path) else []
    return steps[-1].name if steps else None


def _renamed(target: Target, name: str) -> Target:
    """The same target with its parameter called `name`."""
    base = target.base
    assert isinstance(base, Path)
    last = max(i for i, step in enumerate(base.steps) if isinstance(step, Step))
    steps = (*base.steps[:last], Step(name), *base.steps[last + 1 :])
    return replace(target, base=replace(base, steps=steps))
