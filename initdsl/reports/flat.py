"""A plan, or the report of what was done, as values for an experiment tracker."""

from __future__ import annotations

from collections.abc import Iterator

from initdsl.planning.plan import Plan, totals
from initdsl.statistics.predicted import expected
from initdsl.text.flat import Flat, flat_values
from initdsl.text.wording import relative_location

from .table import grouped

__all__ = ["flat_plan"]


def flat_plan(plan: Plan) -> Flat:
    """Return totals, rules and seed of a plan, and the standard deviation that each group of parameters is to have."""
    values: dict[str, int | float | str | None] = {
        "rules": relative_location(next(iter(plan.rules.sources), "")) or None,
        "network": plan.network.fingerprint(),
        "seed": None if plan.seed is None else str(plan.seed),
        "tied": len(plan.tied),
        "warnings": len(plan.warnings),
    }
    for status, count in totals(plan.entries).items():
        values |= {f"{status}_tensors": count["tensors"], f"{status}_elements": count["elements"]}
    return flat_values("init", values, _stds(plan))


def _stds(plan: Plan) -> Iterator[tuple[str, float]]:
    for name, members in grouped(plan.entries):
        promise = expected(members[0])
        if promise is not None and promise.std:
            yield name, promise.std
