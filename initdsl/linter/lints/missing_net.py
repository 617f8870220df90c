"""A path that does not begin with `net`.

## What it does
Finds selectors that begin with a word in lower case: `head.weight`, `layers.0.mlp.up.weight`, `self.head`. What a selector
begins with is a class, and classes have a capital letter. Looks at files without their model; against a model the
resolver says whether there is such a class, and which paths there are.

## Why is this bad
No module has that class, so the rule selects nothing. Names pasted from `named_parameters()` and from code look like
this; a path from the model itself begins with `net`, one from any module with `*`.

## Example
```init
Linear.weight ~ normal(0, 0.02)
layers.0.attn.scale = 1
```

## Use instead
```init
Linear.weight ~ normal(0, 0.02)
net.layers[0].attn.scale = 1
```

## Source
transformers 47458: a test for a bare name never matched a full one, in silence.
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.language.syntax.nodes import ClassPattern, Index, Path, Step
from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.linter.fixes import replacement
from initdsl.linter.targets import MATRICES
from initdsl.network.selectors.meant import HOLDERS, is_no_class, steps_of, written
from initdsl.text.diagnostic import Diagnostic
from initdsl.text.source import Span


@lint(needs="file-alone")
def check(file: File) -> Iterator[Diagnostic]:
    for path in file.nodes:
        if not isinstance(path, Path) or not isinstance(path.root, ClassPattern) or path.root.predicates:
            continue
        steps = steps_of(path)
        # `layers.0.attn.Wqkv`: a number is no part of a module's name either
        is_numbered = any(isinstance(step, Index) or step.name.isdecimal() for step in steps[:-1])
        if not is_no_class(path.root) and not any(name.isdecimal() for name in path.root.name.split(".")):
            continue
        is_held = isinstance(steps[0], Step) and steps[0].name in HOLDERS and len(steps) > 1
        rest = Path("net", steps[1:] if is_held else steps, None, path.span)
        rooted, anywhere = (
            written(rest),
            written(Path(ClassPattern("*", False, (), path.span), rest.steps, None, path.span)),
        )
        near = next((name for name in MATRICES if name.lower() == path.root.name.lower()), None)
        hint, fix = "a path from the model itself starts with `net.`, one from any module with `*.`", None
        if rooted is not None and (is_numbered or is_held):
            hint = f"did you mean `{rooted}`?"
            whole = Span(path.span.start, max(path.root.span.end, *(step.span.end for step in steps)))
            fix = replacement(whole, rooted, f"write `{rooted}`", safe=False)
        elif near is not None:
            hint, fix = f"did you mean `{near}`?", replacement(path.root, near, f"write `{near}`", safe=False)
        elif rooted is not None:
            hint = f"did you mean `{anywhere}`?" if len(steps) < 2 else f"did you mean `{rooted}`, or `{anywhere}`?"
        message = f"`{path.root.name}` is taken for a class, and a class begins with a capital letter"
        yield file.finding(path.root, message, hint, fix)
