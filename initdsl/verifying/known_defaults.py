"""What the parameters of torch's own modules follow by default, where that is one distribution with known bounds."""

from __future__ import annotations

from initdsl.initializers import Constant, Distribution, Uniform
from initdsl.planning.actions import Reset
from initdsl.planning.plan import Plan, PlanEntry
from initdsl.planning.torch_defaults import given_by_reset
from initdsl.statistics.predicted import scaled_by

__all__ = ["distribution_of_default"]


# how far torch's arithmetic in float32 may go beyond a bound
SLACK = 1e-6


def distribution_of_default(plan: Plan, entry: PlanEntry) -> Distribution | None:
    """Return what an entry follows that starts from the default of one of torch's modules, numbers on top; else None."""
    if entry.base is None or not isinstance(entry.base.payload, Reset):
        return None
    if any(edit.index is not None or edit.view is not None for edit in entry.edits):
        return None
    setting = [index for index, tensors in plan.resets if entry.tensor.index in tensors]
    module = entry.base.payload.module
    gives = given_by_reset(plan.network, module, entry.tensor) if setting == [module] else None
    if gives is None or isinstance(gives, Constant):
        return None
    if isinstance(gives, Uniform):
        gives = Uniform(gives.low * (1 + SLACK), gives.high * (1 + SLACK))
    return scaled_by(gives, entry.edits)
