"""A diff as values for an experiment tracker."""

from __future__ import annotations

from initdsl.text.flat import Flat, flat_values

from .diff import Diff

__all__ = ["flat_diff"]


def flat_diff(diff: Diff) -> Flat:
    """Return how many tensors change in which way, and how signals grow before and after, where models were run."""
    values: dict[str, int | float | str | None] = {
        "changed": int(bool(diff)),
        "same": diff.same,
        "tied": len(diff.tied),
        **{kind: len(changes) for kind, changes in diff.groups.items()},
    }
    for side, growth in zip(("before", "after"), diff.growth or (), strict=False):
        if growth is not None:
            values |= {f"activations_{side}": growth.activations, f"gradients_{side}": growth.gradients}
    return flat_values("init/diff", values)
