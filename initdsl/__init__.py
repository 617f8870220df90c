"""Declarative weight initialization for PyTorch: rules in a file, checked before and proven after.

>>> import initdsl
>>> from torch import nn
>>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
>>> report = initdsl.apply(net, "Linear.weight ~ normal(0, 0.01); Linear.bias = 0")

Every name is imported when it is first used. Parsing, formatting and linting files do not import torch; `apply`, `plan`
and what needs a model do.
"""

# no `__future__`, `typing` or `importlib` at the top: of the command line this is the first file, and the path is not clean yet
TYPE_CHECKING = False
if TYPE_CHECKING:
    from initdsl.api.apply import apply
    from initdsl.api.diff import Diff, diff
    from initdsl.api.plan import Plan, plan
    from initdsl.api.report import Report
    from initdsl.api.rules import RuleSet, load, parse
    from initdsl.api.stream import stream
    from initdsl.filling.meta.materialize import materialize
    from initdsl.formatter.layout import format
    from initdsl.migrating.converting.convert import convert
    from initdsl.migrating.inferring import Inferred, infer
    from initdsl.network.describe import describe
    from initdsl.network.description import Network
    from initdsl.planning.plan import PlanEntry
    from initdsl.text.diagnostic import (
        ApplyError,
        DiagnoseError,
        Diagnostic,
        EmptiedModelWarning,
        InitDSLError,
        OverruledRuleWarning,
        ParseError,
        RedrawnParameterWarning,
        ResolveError,
        RuleError,
        UncoveredParameterWarning,
        UnmatchedRuleWarning,
    )
    from initdsl.verifying.verification import Verification
    from initdsl.verifying.verify import verify

    from .diagnosis import Diagnosis, diagnose
    from .initializers import initializer
    from .linter import lint

__version__ = "0.1.0"

__all__ = [
    "ApplyError",
    "DiagnoseError",
    "Diagnosis",
    "Diagnostic",
    "Diff",
    "EmptiedModelWarning",
    "Inferred",
    "InitDSLError",
    "Network",
    "OverruledRuleWarning",
    "ParseError",
    "Plan",
    "PlanEntry",
    "RedrawnParameterWarning",
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
    "diff",
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
    "ApplyError": ".text.diagnostic",
    "DiagnoseError": ".text.diagnostic",
    "Diagnosis": ".diagnosis",
    "Diagnostic": ".text.diagnostic",
    "Diff": ".api.diff",
    "EmptiedModelWarning": ".text.diagnostic",
    "Inferred": ".migrating.inferring",
    "InitDSLError": ".text.diagnostic",
    "Network": ".network.description",
    "OverruledRuleWarning": ".text.diagnostic",
    "ParseError": ".text.diagnostic",
    "Plan": ".api.plan",
    "PlanEntry": ".planning.plan",
    "RedrawnParameterWarning": ".text.diagnostic",
    "Report": ".api.report",
    "ResolveError": ".text.diagnostic",
    "RuleError": ".text.diagnostic",
    "RuleSet": ".api.rules",
    "UncoveredParameterWarning": ".text.diagnostic",
    "UnmatchedRuleWarning": ".text.diagnostic",
    "Verification": ".verifying.verification",
    "apply": ".api.apply",
    "convert": ".migrating.converting.convert",
    "describe": ".network.describe",
    "diagnose": ".diagnosis",
    "diff": ".api.diff",
    "format": ".formatter.layout",
    "infer": ".migrating.inferring",
    "initializer": ".initializers",
    "lint": ".linter",
    "load": ".api.rules",
    "load_ipython_extension": ".integrations.ipython",
    "materialize": ".filling.meta.materialize",
    "parse": ".api.rules",
    "plan": ".api.plan",
    "stream": ".api.stream",
    "verify": ".verifying.verify",
}


def __getattr__(name: str) -> object:
    if name in _LATE:
        import importlib

        try:
            value = getattr(importlib.import_module(_LATE[name], __name__), name)
        except ModuleNotFoundError as error:
            from .text.failures import TORCH, lacks_torch

            library = lacks_torch(error)
            if library is None:
                raise
            raise ModuleNotFoundError(f"initdsl.{name} needs {library}: {TORCH}", name=library) from None
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATE})
