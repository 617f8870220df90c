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

from .initializers import initializer
from .language.rules.loader import RuleSet, load, parse
from .text.diagnostic import (  # fmt: skip
    ApplyError,
    DiagnoseError,
    Diagnostic,
    InitDSLError,
    ParseError,
    ResolveError,
    RuleError,
    UncoveredParameterWarning,
    UnmatchedRuleWarning,
)

if TYPE_CHECKING:
    from .api.plan import apply, plan
    from .diagnosis import Diagnosis, diagnose
    from .filling.meta.materialize import materialize
    from .filling.to_disk.stream import stream
    from .formatter.layout import format
    from .linter import lint
    from .migrating.converting.convert import convert
    from .migrating.inferring import Inferred, infer
    from .network.describe import Network, describe
    from .planning.plan import Plan, PlanEntry
    from .reports.table import Report
    from .verifying.verify import Verification, verify

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
    "Inferred": ".migrating.inferring",
    "Diagnosis": ".diagnosis",
    "Network": ".network.describe",
    "Plan": ".planning.plan",
    "PlanEntry": ".planning.plan",
    "Report": ".reports.table",
    "Verification": ".verifying.verify",
    "apply": ".api.plan",
    "convert": ".migrating.converting.convert",
    "describe": ".network.describe",
    "diagnose": ".diagnosis",
    "format": ".formatter",
    "infer": ".migrating.inferring",
    "lint": ".linter",
    "materialize": ".filling.meta.materialize",
    "plan": ".api.plan",
    "stream": ".filling.to_disk.stream",
    "verify": ".verifying.verify",
}


def __getattr__(name: str) -> Any:
    if name in _LATE:
        value = getattr(importlib.import_module(_LATE[name], __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATE})
