"""What the parameters of torch's own modules follow by default, where that is one distribution with known bounds."""

from __future__ import annotations

import math

from initdsl.initializers import Distribution, Normal, Uniform
from initdsl.network.parts import ModuleInfo
from initdsl.planning.actions import Reset
from initdsl.planning.plan import Plan, PlanEntry
from initdsl.statistics.predicted import scaled_by

__all__ = ["distribution_of_default"]


# the classes whose weight and bias are uniform in plus and minus 1 / sqrt(fan_in of the weight)
LINEAR = ("linear.Linear", "linear.NonDynamicallyQuantizableLinear", "linear.Bilinear")
CONVOLUTIONS = tuple(f"conv.Conv{turned}{d}d" for turned in ("", "Transpose") for d in (1, 2, 3))
BY_FAN = frozenset(f"torch.nn.modules.{name}" for name in LINEAR + CONVOLUTIONS)


# those whose parameters are uniform in plus and minus 1 / sqrt(hidden_size)
BY_HIDDEN_SIZE = frozenset(
    f"torch.nn.modules.rnn.{name}{cell}" for name in ("RNN", "LSTM", "GRU") for cell in ("", "Cell")
)


# how far torch's arithmetic in float32 may go beyond a bound
SLACK = 1e-6


def distribution_of_default(plan: Plan, entry: PlanEntry) -> Distribution | None:
    """Return what an entry follows that starts from the default of one of torch's modules, numbers on top; else None."""
    if entry.base is None or not isinstance(entry.base.payload, Reset):
        return None
    if any(edit.index is not None or edit.view is not None for edit in entry.edits):
        return None
    module = entry.base.payload.module
    setting = [index for index, tensors in plan.resets if entry.tensor.index in tensors]
    locals_ = [local for owner, local in entry.tensor.owners if owner == module]
    if setting != [module] or not locals_:
        return None
    distribution = _of(plan, plan.network.modules[module], locals_[0])
    return None if distribution is None else scaled_by(distribution, entry.edits)


def _of(plan: Plan, module: ModuleInfo, local: str) -> Distribution | None:
    name, tensors = module.cls.qualname, plan.network.tensors
    if name == "torch.nn.modules.sparse.Embedding" and local == "weight":
        return Normal(0.0, 1.0) if module.values.get("padding_idx") is None else None
    if name in BY_FAN and local in ("weight", "bias") and "weight" in module.parameters:
        shape = tensors[module.parameters["weight"]].shape
        size = shape[1] if name.endswith("Bilinear") else math.prod(shape[1:])
    elif name in BY_HIDDEN_SIZE and local.startswith(("weight_", "bias_")):
        size = module.values.get("hidden_size", 0)
    else:
        return None
    if not isinstance(size, int) or size < 1:
        return None
    bound = (1 + SLACK) / math.sqrt(size)
    return Uniform(-bound, bound)
