"""A gain for another nonlinearity than the one it is drawn for.

## What it does
Finds `kaiming_normal` and `kaiming_uniform` for `sigmoid` or `tanh`, and a slope `a` for a nonlinearity that has none.

## Why is this bad
The rule of He et al. keeps the signal's variance through rectifiers. For saturating nonlinearities that of Glorot and
Bengio does. And `a` is the slope of `leaky_relu`: beside any other nonlinearity it is ignored.

## Example
```init
Linear.weight ~ kaiming_normal(a=0.2, nonlinearity=relu)
```

## Use instead
```init
Linear.weight ~ kaiming_normal(a=0.2, nonlinearity=leaky_relu)
```

## Source
The documentation of `torch.nn.init.kaiming_normal_`, which asks for `relu` or `leaky_relu` alone.
"""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.linter.definition import lint
from initdsl.linter.file import File
from initdsl.text.diagnostic import Diagnostic


@lint()
def check(file: File) -> Iterator[Diagnostic]:
    for _, call in file.bound_calls:
        if call.initializer.name not in ("kaiming_normal", "kaiming_uniform") or call.error is not None:
            continue
        nonlinearity = call.get("nonlinearity")
        if nonlinearity in ("sigmoid", "tanh"):
            better = call.initializer.name.replace("kaiming", "xavier")
            gain = "gain=5/3" if nonlinearity == "tanh" else ""
            place = call.written.get("nonlinearity") or call.call
            yield file.finding(place, f"kaiming's rule is not for `{nonlinearity}`", f"use `{better}({gain})`")
        elif isinstance(nonlinearity, str) and nonlinearity != "leaky_relu":
            if "a" in call.written and call.get("a") != 0:
                yield file.finding(
                    call.written["a"],
                    f"`{nonlinearity}` has no slope: `a` is ignored",
                    "write `nonlinearity=leaky_relu`, or leave `a` out",
                )
