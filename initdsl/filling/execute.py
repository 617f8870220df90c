"""Carries a plan out: everything that it says happens, or nothing does.

Steps that can fail (somebody's function, an expression, a file, the algebra of a whole-tensor initializer) are known from
the plan; the built-in element-wise draws and constants write into memory that is there and can't fail. So a plan of those
alone, the usual one, needs no backup and costs what hand-written code costs.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from initdsl import streams
from initdsl.network.description import Live
from initdsl.network.garbage import MANY, no_collection
from initdsl.network.kinds import any_sharded
from initdsl.planning.plan import Plan
from initdsl.text.diagnostic import Diagnostic, ResolveError

from .computed_weights import uncached
from .finish import last_steps
from .random_state import drawing_from
from .refusals import refuse_generator, refuse_meta
from .run import OnInit, run_of
from .sharded.agreement import hooks_of
from .sharded.fill import shard_ways
from .steps import claims_of, steps_of, whole_ways
from .transaction import ALONE, carry_out

if TYPE_CHECKING:
    import torch

__all__ = ["execute"]


def execute(
    plan: Plan,
    live: Live,
    on_init: OnInit | None = None,
    *,
    fresh: bool = False,
    sample: object = None,
    generator: torch.Generator | None = None,
) -> None:
    """Fill a model by the plan that was made for it; see `initdsl.apply`.

    A `fresh` one has no values to put back after a failure. Without a seed, what draws does so from `generator`. Raises
    ResolveError before anything changes, ApplyError.
    """
    sharded = any_sharded(live.tensors)
    apart = sharded or plan.whole is not None  # then other ranks are to be told
    if apart and plan.adjusted and sample is not None:
        what = f"`{plan.adjusted[0].label}` is to be adjusted to a sample, which no sharded model can be"
        hint = "adjust it before it is sharded, and save and load it"
        raise ResolveError(Diagnostic("no-sample", what, hint=hint))
    if not apart:
        refuse_meta(plan, live)  # ranks of a sharded one do so when all can be told
    run = run_of(plan, live, on_init, fresh=fresh, sample=sample)
    ways = shard_ways(run) if sharded or _reads_elsewhere(plan, live) else whole_ways(run)
    with no_collection(len(plan.order) >= MANY):
        steps = [*steps_of(run, ways), *last_steps(run, ways)]
    if generator is not None:
        refuse_generator(plan, live, generator)
    with streams.team(), drawing_from(generator), uncached(live):
        carry_out(steps, partial(claims_of, run), hooks_of(run, len(steps)) if apart else ALONE)


def _reads_elsewhere(plan: Plan, live: Live) -> bool:
    """Return whether a stage of a pipeline reads tensors of others."""
    return bool(live.elsewhere) and any(not live.elsewhere.isdisjoint(entry.reads) for entry in plan.order)
