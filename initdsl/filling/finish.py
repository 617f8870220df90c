"""What comes after everything is filled, whichever way it was filled.

`execute` takes these steps last, in the same transaction: `apply`, `materialize`, the integrations and the whole tensors of
`stream` go through it. A function of one module takes those of the entries it filled. What is written to files is held
against the expectations there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from initdsl.planning.plan import Plan

from .blame import StepFailed
from .computed_weights import follow, has_computed
from .expectations import unmet_expectations
from .represented import refuse_broken, written_weights
from .run import Run, start_of
from .sample import adjust_tensors
from .steps import Ways, save_tensors_below
from .transaction import Backup, Step

__all__ = ["last_steps", "refuse_unmet"]


def last_steps(run: Run, ways: Ways) -> list[Step]:
    """Return the steps that come after all entries of a run's plan are filled."""
    save = partial(save_tensors_below, run, 0)
    steps = []
    if run.plan.adjusted:
        steps.append(Step(partial(adjust_tensors, run), True, save))
    computed = _computed_modules(run) if run.fresh or run.seed is not None else []
    if computed:
        steps.append(Step(partial(_follow_all, run, computed), True, partial(_save_all, run, computed)))
    if written_weights(run):
        steps.append(Step(partial(refuse_broken, run), True, lambda backup: None))
    if run.plan.expected:
        steps.append(Step(partial(refuse_unmet, run.plan, ways.read), True, save))
    return steps


def _computed_modules(run: Run) -> list[nn.Module]:
    """Return the modules with buffers that depend on a computed weight, where what that is computed from is filled."""
    network = run.plan.network
    filled = {entry.tensor.index for entry in run.plan.order if not entry.keeps}
    indices: set[int] = set()
    for info in network.tensors:
        if info.kind == "parametrized":
            below = network.reachable(info.owners[0][0])
            parts = [network.modules[index] for index in below]
            tensors = {i for part in parts for i in (*part.parameters.values(), *part.buffers.values())}
            # vectors that rules fill themselves, from a file say, follow nothing
            own = {i for part in parts for local, i in part.buffers.items() if local.endswith(("_u", "_v"))}
            if filled.isdisjoint(own) and not filled.isdisjoint(tensors | {info.index}):
                indices.update(below)
    return [module for index in sorted(indices) if has_computed(module := run.live.modules[index])]


def _follow_all(run: Run, modules: list[nn.Module]) -> None:
    """Bring the buffers of computed weights up to them."""
    for module in modules:
        follow(module, start_of(run))


def _save_all(run: Run, modules: list[nn.Module], backup: Backup) -> None:
    for module in () if run.fresh else modules:
        backup.save_objects(module)
        backup.save_values(module.buffers())


def refuse_unmet(plan: Plan, read: Callable[[int], torch.Tensor | None]) -> None:
    """Refuse values that are not as the rules expect; `read` returns a tensor by its number, None to leave it out.

    Raises StepFailed.
    """
    problems = unmet_expectations(plan, read)
    if problems:
        raise StepFailed(problems[0], ValueError(problems[0].message), problems[1:])
