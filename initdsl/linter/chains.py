"""Chains of layers, and how much they scale a signal by their fans and standard deviations alone."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .plan_helpers import FillingRule, entry_of_tensor, filling_rules

if TYPE_CHECKING:
    from initdsl.network.description import Network
    from initdsl.network.parts import ModuleInfo
    from initdsl.planning.plan import Plan, PlanEntry

    from .file import File

__all__ = ["Chain", "chains_by_rule"]


# shorter chains do no harm
FEWEST_LAYERS = 3


LINEAR = ("Linear", "Conv1d", "Conv2d", "Conv3d")


# they pass about half of a signal's power on
RECTIFIERS = ("ReLU", "ReLU6", "LeakyReLU", "RReLU", "GELU", "SiLU", "Mish", "Hardswish", "ELU", "CELU")


# lists of these names hold layers beside one another
BRANCHES = re.compile(r"expert|head|branch")


@dataclass(frozen=True, slots=True)
class Chain:
    """A module whose layers follow one another, as a `Sequential`; `gain` is the factor by which they scale a signal."""

    module: ModuleInfo
    weights: tuple[PlanEntry, ...]
    gain: float


def chains_by_rule(file: File, plan: Plan, matters: Callable[[float], bool]) -> Iterator[tuple[FillingRule, Chain]]:
    """Yield each rule of the file that fills the first layer of a chain whose gain matters, with the first such chain."""
    entries = entry_of_tensor(plan)
    chains = [chain for module in plan.network.modules if (chain := _chain(plan.network, entries, module)) is not None]
    chains = [chain for chain in chains if matters(chain.gain)]
    for rule in filling_rules(file, plan) if chains else ():
        tensors = {fill.entry.tensor.index for fill in rule.fills}
        first = next((chain for chain in chains if chain.weights[0].tensor.index in tensors), None)
        if first is not None:
            yield rule, first


def _chain(network: Network, entries: Mapping[int, PlanEntry], module: ModuleInfo) -> Chain | None:
    """Return the chain that a `Sequential` is, with those in it, or a list of layers each of which takes what the one before gives.

    The gain is the product over its layers of `sqrt(fan_in) * rms(weight)`, halved in power by every ReLU. `None` where
    the weights of a layer follow no known distribution, where anything normalizes, and for fewer than `FEWEST_LAYERS`.
    """
    if module.container != "list" or BRANCHES.search(module.label):
        return None
    power = 1.0
    weights: list[PlanEntry] = []
    for layer in _layers(network, module):
        if layer.cls.name in LINEAR:
            entry = entries.get(layer.parameters.get("weight", -1))
            distribution = entry.distribution if entry is not None else None
            if entry is None or distribution is None or len(entry.shape) < 2:
                return None
            if weights and not _is_sequential(module) and weights[-1].shape[0] != entry.shape[1]:
                return None
            weights.append(entry)
            power *= math.prod(entry.shape[1:]) * (distribution.std**2 + distribution.mean**2)
        elif layer.cls.name in RECTIFIERS:
            power /= 2
        elif layer.parameters or layer.children or layer.is_norm:
            return None
    return Chain(module, tuple(weights), math.sqrt(power)) if len(weights) >= FEWEST_LAYERS else None


def _layers(network: Network, module: ModuleInfo) -> Iterator[ModuleInfo]:
    """Yield a module's children in order, those of a `Sequential` in its place."""
    for child in (network.modules[i] for i in module.children.values()):
        if _is_sequential(child):
            yield from _layers(network, child)
        else:
            yield child


def _is_sequential(module: ModuleInfo) -> bool:
    return "Sequential" in (module.cls.name, *(base.name for base in module.cls.bases))
