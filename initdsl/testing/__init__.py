"""For tests: is a network initialized as its rules say?

>>> import initdsl
>>> from torch import nn
>>> net = nn.Linear(4, 8)
>>> report = initdsl.apply(net, "Linear.weight ~ normal(0, 0.02); Linear.bias = 0")
>>> assert_initialized(net, "Linear.weight ~ normal(0, 0.02); Linear.bias = 0")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from initdsl.verifying.verification import Verification

__all__ = ["assert_initialized"]


def assert_initialized(net: Any, rules: Any, seed: int | None = None, **options: Any) -> None:
    """Assert that a network (a state dict, a checkpoint's path) is what its rules say, their `expect` statements included.

    Parameters that no rule reaches fail too, unless `strict=False`. The other arguments are those of `initdsl.verify`.
    Raises AssertionError that lists what drifted; ParseError, RuleError or ResolveError for rules that don't fit.
    """
    __tracebackhide__ = True
    from initdsl.verifying.verify import verify

    strict = options.pop("strict", True)
    found = verify(net, rules, seed, **options)
    lines = _wrong(found, strict)
    if lines:
        raise AssertionError("\n".join(["the network is not what its rules say:", *lines, found.summary()]))


def _wrong(found: Verification, strict: bool) -> list[str]:
    lines = [f"  {check} ({check.location})" for check in found.drifted]
    lines += [f"  {message}" for message in (*found.structure, *found.unmet)]
    if strict:
        lines += [f"  uncovered {check.label}: no rule reaches it" for check in found if not check.rule]
    return lines
