"""For tests: is a model initialized as its rules say?

>>> import initdsl
>>> from torch import nn
>>> net = nn.Linear(4, 8)
>>> report = initdsl.apply(net, "Linear.weight ~ normal(0, 0.02); Linear.bias = 0")
>>> assert_initialized(net, "Linear.weight ~ normal(0, 0.02); Linear.bias = 0")
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

    from initdsl.language.rules.loader import Rules
    from initdsl.verifying.verification import Verification

__all__ = ["assert_initialized"]


def assert_initialized(
    net: nn.Module | Mapping[str, torch.Tensor] | str | os.PathLike[str],
    rules: Rules,
    seed: int | None = None,
    *,
    strict: bool = True,
    **options: Any,
) -> None:
    """Assert that a model (a state dict, a checkpoint's path) is what its rules say, their `expect` statements included.

    Parameters that no rule reaches fail too, unless `strict=False`. The other arguments are those of `initdsl.verify`.
    Raises AssertionError that lists what drifted; ParseError, RuleError or ResolveError for rules that don't fit.
    """
    __tracebackhide__ = True  # pytest shows the test's own line
    from initdsl.verifying.verify import verify

    verification = verify(net, rules, seed, **options)
    lines = _differences(verification, strict)
    if lines:
        raise AssertionError("\n".join(["the model is not what its rules say:", *lines, verification.summary()]))


def _differences(verification: Verification, strict: bool) -> list[str]:
    lines = [f"  {check} ({check.location})" for check in verification.drifted]
    lines += [f"  {message}" for message in (*verification.structure, *verification.unmet)]
    if strict:
        lines += [f"  uncovered {check.label}: no rule reaches it" for check in verification if not check.rule]
    return lines
