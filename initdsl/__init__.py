"""Declarative weight initialization for PyTorch: rules in a file, checked before and proven after.

>>> import initdsl
>>> from torch import nn
>>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
>>> report = initdsl.apply(net, "Linear.weight ~ normal(0, 0.01); Linear.bias = 0")

Importing this package, parsing, formatting and linting files do not import torch; `apply`, `plan` and what needs a
network do, when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .diagnostic import (
    ApplyError,
    DiagnoseError,
    Diagnostic,
    InitDSLError,
    ParseError,
    ResolveError,
    RuleError,
    UncoveredParameterWarning,
    UnmatchedRuleWarning,
)  # fmt: skip
from .initializers import initializer
from .rules import RuleSet, load, parse

if TYPE_CHECKING:
    from .api import apply, plan
    from .converting import convert
    from .diagnosis import Diagnosis, diagnose
    from .formatter import format
    from .inferring import Inferred, infer
    from .linter import lint
    from .materializing import materialize
    from .network import Network, describe
    from .plans import Plan, PlanEntry
    from .report import Report
    from .streaming import stream
    from .verifying import Verification, verify

__version__ = "0.1.0"

__all__ = [
    "ApplyError",
    "DiagnoseError",
    "Diagnosis",
    "Diagnostic",
    "Inferred",
    "InitDSLError",
    "Network",
    "ParseError",
    "Plan",
    "PlanEntry",
    "Report",
    "ResolveError",
    "RuleError",
    "RuleSet",
    "UncoveredParameterWarning",
    "UnmatchedRuleWarning",
    "Verification",
    "apply",
    "convert",
    "describe",
    "diagnose",
    "format",
    "infer",
    "initializer",
    "lint",
    "load",
    "materialize",
    "parse",
    "plan",
    "stream",
    "verify",
]

_LATE = {
    "Inferred": ".inferring",
    "Diagnosis": ".diagnosis",
    "Network": ".network",
    "Plan": ".plans",
    "PlanEntry": ".plans",
    "Report": ".report",
    "Verification": ".verifying",
    "apply": ".api",
    "convert": ".converting",
    "describe": ".network",
    "diagnose": ".diagnosis",
    "format": ".formatter",
    "infer": ".inferring",
    "lint": ".linter",
    "materialize": ".materializing",
    "plan": ".api",
    "stream": ".streaming",
    "verify": ".verifying",
}


def __getattr__(name: str) -> Any:
    if name in _LATE:
        value = getattr(importlib.import_module(_LATE[name], __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATE})
