"""An argument that can't be right.

## What it does
Finds arguments of a wrong kind or out of range, words that are no choice, missing and surplus arguments.

## Why is this bad
The file can't be applied. Some of these torch accepts in silence, on the meta device above all: a negative standard
deviation, a lower bound above the upper.

## Example
```init
Linear.weight ~ normal(0, -0.02)
```

## Use instead
```init
Linear.weight ~ normal(0, 0.02)
```

## Source
torch 2.13: `normal_(std=inf)` and `uniform_(1, 0)` pass on the meta device; `trunc_normal_(std=0)` divides by zero.
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.initializers.elsewhere import activation_hint
from initdsl.language.syntax.nodes import Let, Name, Node, String
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.text.diagnostic import Diagnostic, correction


@lint(severity="error")
def check(file: File) -> Iterator[Diagnostic]:
    declared = {placed.rule.name for placed in file.everything if isinstance(placed.rule, Let)}
    for _, call in file.bound_calls:
        if call.error is not None and call.error.name == "bad-argument":
            place: Node = call.written.get(call.error.argument or "", call.call)
            fix = correction(file.source, place.span, call.error.hint)
            yield file.finding(place, str(call.error), call.error.hint, fix)
    for node in file.calls:
        if node.function != "calculate_gain" or not node.arguments:
            continue
        word = node.arguments[0].value
        name = word.name if isinstance(word, Name) and word.name not in declared else ""
        hint = activation_hint(word.value if isinstance(word, String) else name)
        if hint is not None:
            yield file.finding(word, f"`calculate_gain` knows no `{file.text(word).strip(chr(34))}`", hint)
