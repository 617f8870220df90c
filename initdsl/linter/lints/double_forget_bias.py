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
pytorch 750: torch's LSTM adds two biases, so a forget bias of 1 is set in one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.statements import Placed, label
from initdsl.linter.targets import Target, is_piece, renamed
from initdsl.linter.values import number_set
from initdsl.text.diagnostic import Diagnostic

PARTS = ("bias_ih_l0", "bias_hh_l0")


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    first: dict[Target, tuple[Placed, str]] = {}  # by target, with `ih` and `hh` as one
    for placed in file.statements:
        targets = [target for target in placed.targets or () if is_piece(target.base)]
        name = targets[0].glob if len(targets) == 1 else None
        if name is None or (number_set(placed) or 0) < 1:
            continue
        if "*" in name and all(fnmatchcase(part, name) for part in PARTS):
            yield file.finding(
                placed.rule,
                "this sets the bias in `bias_ih` and in `bias_hh`, which are added",
                "select `bias_ih_l*` alone",
            )
        elif name.startswith(("bias_ih", "bias_hh")):
            either = renamed(targets[0], f"bias_?h{name.removeprefix('bias_ih').removeprefix('bias_hh')}")
            other, other_name = first.setdefault(either, (placed, name))
            if other_name != name:
                yield file.finding(
                    placed.rule,
                    "`bias_ih` and `bias_hh` are added, and both are set here",
                    "set one, and the other to 0",
                    labels=(label(other, "the other"),),
                )
