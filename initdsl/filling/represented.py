"""Computed weights looked at once they are written: some values, such as 0 under weight norm, nothing can be computed to."""

from __future__ import annotations

import torch

from initdsl.network.kinds import is_sharded
from initdsl.network.parts import TensorInfo
from initdsl.planning.actions import Action
from initdsl.planning.plan import Plan, PlanEntry
from initdsl.text.diagnostic import Diagnostic
from initdsl.text.wording import listed

from .blame import StepFailed, rule_diagnostic
from .computed_weights import computed_weight
from .run import Run

__all__ = ["refuse_broken", "unrepresented", "written_weights"]


def unrepresented(plan: Plan, tensor: TensorInfo, action: Action, found: str) -> Diagnostic:
    """Return what is said of a computed weight that does not get the values of an action; `found` says what it gets."""
    network = plan.network
    originals = [network.tensors[index] for index in network.originals(tensor)]
    names = listed([network.label(original) for original in originals])
    message = f"`{network.label(tensor)}` is computed from {names}, and {found}"
    norms = [original for original in originals if original.name.endswith(("original0", "_g"))]
    if len(originals) == 2 and norms:
        hint = f"a weight of norm 0 is written `{network.label(norms[0])} = 0`"
    else:
        hint = "write to what it is computed from"
    return rule_diagnostic(plan, action, "not-representable", message, hint)


def written_weights(run: Run) -> list[tuple[TensorInfo, PlanEntry]]:
    """Return the computed weights of which something is written, and the entry that does so."""
    network = run.plan.network
    computed = [info for info in network.tensors if info.kind == "parametrized"]
    written = {entry.tensor.index: entry for entry in run.plan.order if not entry.keeps} if computed else {}
    weights = []
    for info in computed:
        group = [info.index, *network.originals(info)]
        if not any(is_sharded(run.live.tensors[index]) for index in group):
            weights += [(info, written[index]) for index in group if index in written][:1]
    return weights


def refuse_broken(run: Run) -> None:
    """Refuse a computed weight that is not finite though all it is computed from is. Raises StepFailed."""
    network, live = run.plan.network, run.live
    for info, entry in written_weights(run):
        originals = [tensor for index in network.originals(info) if (tensor := live.tensors[index]) is not None]
        if any(tensor.is_meta or not bool(torch.isfinite(tensor).all()) for tensor in originals):
            continue
        owner, local = info.owners[0]
        if not bool(torch.isfinite(computed_weight(live.modules[owner], local)).all()):
            problem = unrepresented(run.plan, info, entry.actions[-1], "is not finite after this")
            raise StepFailed(problem, ValueError(problem.message))
