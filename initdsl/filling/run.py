"""`Run`: one fill of one model, as a value that every function that writes takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import nn

from initdsl import streams
from initdsl.network.description import Live
from initdsl.network.parts import TensorInfo
from initdsl.planning.plan import Plan, PlanEntry
from initdsl.text.diagnostic import Diagnostic
from initdsl.text.failures import first_line

from .blame import StepFailed
from .computed_weights import Start, computed_weight, seeded_vector
from .read import Files
from .refusals import refuse_no_sample

__all__ = ["OnInit", "Run", "read_whole", "run_of", "start_of", "tell"]


# called with every entry that is filled
OnInit = Callable[[PlanEntry], Any]


@dataclass(frozen=True, eq=False)
class Run:
    """One fill of a model: `Run(plan, live, files=Files(), on_init=print)`.

    A `fresh` model has no values yet: none are kept or put back. `sample` is what the model is run on by rules that
    adjust tensors to their layer's output. Of an `emptied` one, what was on the meta device when the plan was made has
    none. `left` has, by number, which elements the resets of modules left as they were, so far; None where they set all.
    """

    plan: Plan
    live: Live
    files: Files
    on_init: OnInit | None = None
    fresh: bool = False
    sample: object = None
    emptied: bool = False
    left: dict[int, torch.Tensor | None] = field(default_factory=dict)

    @property
    def seed(self) -> int | None:
        """The seed of the streams that draws come from; None where torch's generators draw."""
        return self.plan.seed

    def is_new(self, info: TensorInfo) -> bool:
        """Return whether a tensor had no values before this run."""
        return (self.fresh or self.emptied) and info.device == "meta"

    @cached_property
    def set_buffers(self) -> frozenset[int]:
        """The buffers that rules set, by number."""
        return frozenset(entry.tensor.index for entry in self.plan.entries if entry.tensor.kind == "buffer")

    @cached_property
    def module_names(self) -> dict[int, str]:
        """The names of the model's modules, by their identities."""
        return {id(m): info.name for info, m in zip(self.plan.network.modules, self.live.modules, strict=True)}


def start_of(run: Run) -> Start | None:
    """Return what gives the vectors of spectral norm the values they start from under a seed; None without one."""
    if run.seed is None:
        return None
    seed, names = run.seed, run.module_names

    def start(module: nn.Module, local: str) -> None:
        buffer = module._buffers[local]
        assert buffer is not None
        name = f"{names[id(module)]}.{local}".removeprefix(".")
        buffer.copy_(seeded_vector(buffer, streams.key(seed, name), buffer.device))

    return start


def run_of(plan: Plan, live: Live, on_init: OnInit | None = None, *, fresh: bool = False, sample: object = None) -> Run:
    """Return the run that carries a plan out on a model.

    Raises ResolveError where the plan needs a sample and there is none, ValueError for a kernel that can't be used.
    """
    if sample is None:
        refuse_no_sample(plan)
    if plan.seed is not None:
        streams.prepare()  # what is wrong with the kernel shows before anything is written
    return Run(plan, live, Files(), on_init, fresh, sample)


def read_whole(run: Run, tensor: int) -> torch.Tensor:
    """Return the values that a tensor has now, by its number; those of a computed weight are computed."""
    values = run.live.tensors[tensor]
    if values is None:
        owner, local = run.plan.network.tensors[tensor].owners[0]
        values = computed_weight(run.live.modules[owner], local)
    assert isinstance(values, torch.Tensor)
    return values.detach()


def tell(run: Run, entry: PlanEntry) -> None:
    """Call `on_init` with an entry that is filled. Raises StepFailed."""
    if run.on_init is None:
        return
    try:
        run.on_init(entry)
    except Exception as error:
        message = f"`on_init` raised {type(error).__name__} for `{entry.label}`: {first_line(error)}"
        raise StepFailed(Diagnostic("callback-failed", message), error) from error
