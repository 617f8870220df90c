"""Stages of a pipeline, held against rules for the whole model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from initdsl.checkpoints.store import Store
from initdsl.filling.sharded.review import refuse_unknown, view_of
from initdsl.language.rules.ruleset import RuleSet
from initdsl.network.describe import describe
from initdsl.network.description import Live, Network
from initdsl.planning.plan import Plan
from initdsl.planning.whole import Joined, join, part_of_plan, whole_network

from .subject import network_of

__all__ = ["part_of_stage", "stage_of"]


def stage_of(net: Any, model: Any, store: Store, rules: RuleSet, whole: Any) -> tuple[Network, Live, Joined]:
    """Return a whole model, one without memory to make its values in, and what of it the stage `net` has.

    Where `net` is a file and `model` doesn't say what the stage is, that is told by the names in the file.
    """
    described = whole_network(whole)
    network, live = network_of(store, whole if isinstance(whole, nn.Module) else described, store, rules)
    network = replace(network, is_whole=True)
    stage = net if isinstance(net, nn.Module) else model
    if stage is not None:
        return network, live, join(network, stage if isinstance(stage, Network) else describe(stage)[0], None)
    stored = {*store.tensors, *store.others}
    names = {tensor.index: network.names(tensor) for tensor in network.tensors}
    held = frozenset(index for index, each in names.items() if not stored.isdisjoint(each))
    return network, live, Joined(network, None, held, frozenset(stored))


def part_of_stage(plan: Plan, joined: Joined) -> Plan:
    """Return the part of a plan that is about a stage. Raises ResolveError where it reads what only another stage knows."""
    part = part_of_plan(plan, joined)
    tensors = plan.network.tensors
    elsewhere = frozenset(tensor.index for tensor in tensors) - {entry.tensor.index for entry in part.entries}
    live = Live([], [None] * len(tensors), elsewhere - joined.held)
    refuse_unknown(view_of(replace(part, seed=part.seed or 0), live), part.order)
    return part
