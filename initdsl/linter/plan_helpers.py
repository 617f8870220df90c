"""What lints ask of a plan."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from initdsl.network.description import ModuleInfo, Network
    from initdsl.planning.actions import Clause
    from initdsl.planning.plan import Plan, PlanEntry

    from .file import File

__all__ = ["chains", "entries_of", "is_norm", "refilled"]


def entries_of(file: File, plan: Plan) -> Iterator[tuple[PlanEntry, Any]]:
    """Every entry with the action that is its base, where that is a rule of this file."""
    for entry in plan.entries:
        if entry.base is not None and entry.base.clause.rule.source == file.source.name:
            yield entry, entry.base


# fewer layers than this do no harm
LAYERS = 3


def refilled(entry: PlanEntry) -> bool:
    """Whether one later rule fills every piece of a tensor anew, so that nothing of its base is left."""
    filled: Counter[int] = Counter()
    for edit in entry.edits:
        if edit.operator in ("~", "=") and (edit.index is not None or edit.view is not None):
            filled[edit.clause.number] += math.prod(edit.shape)
    return math.prod(entry.shape) in filled.values()


def is_norm(module: ModuleInfo) -> bool:
    """Whether a module is a normalization layer, by the name of its class or of one it derives from."""
    return any("norm" in cls.name.lower() for cls in (module.cls, *module.cls.bases))


def chains(
    file: File, plan: Plan, told: Callable[[float], bool]
) -> Iterator[tuple[Clause, ModuleInfo, int, float]]:  # fmt: skip
    """`(rule, module, layers, gain)` of the chains whose gain is to be told, the first one of every rule of the file."""
    seen = set()
    for module in plan.network.modules:
        gain, layers = _chain_gain(plan.network, plan, module) or (1.0, [])
        base = layers[0].base if layers else None
        if base is None or not told(gain) or base.clause.rule.source != file.source.name:
            continue
        if base.clause.number not in seen:
            seen.add(base.clause.number)
            yield base.clause, module, len(layers), gain


def _chain_gain(network: Network, plan: Plan, module: ModuleInfo) -> tuple[float, list[PlanEntry]] | None:
    """How much a chain of linear layers, activations and nothing else scales a signal, by its fans alone.

    A chain is a `Sequential`, with those in it, or a list of layers each of which takes what the one before it gives. The
    product over its layers of `sqrt(fan_in) * rms(weight)`, halved in power by every ReLU; `None` where a layer's
    weights follow no known distribution, or anything normalizes.
    """
    if module.container != "list" or re.search(r"expert|head|branch", module.label):
        return None
    by_index = {e.tensor.index: e for e in plan.entries}
    power = 1.0
    layers: list[PlanEntry] = []
    sequential = _is_sequential(module)
    for child in _flat(network, module):
        name = child.cls.name
        if name in ("Linear", "Conv1d", "Conv2d", "Conv3d"):
            weight = child.parameters.get("weight")
            entry = by_index.get(plan.canonical.get(weight, weight)) if weight is not None else None
            drawn = entry.distribution if entry is not None else None
            if entry is None or drawn is None or len(entry.shape) < 2:
                return None
            if not sequential and layers and layers[-1].shape[0] != entry.shape[1]:
                return None
            layers.append(entry)
            power *= math.prod(entry.shape[1:]) * (drawn.std**2 + drawn.mean**2)
        elif name in ("ReLU", "GELU", "SiLU", "LeakyReLU", "ELU"):
            power /= 2
        elif child.parameters or child.children or is_norm(child):
            return None
    return (math.sqrt(power), layers) if len(layers) >= LAYERS else None


def _flat(network: Network, module: ModuleInfo) -> Iterator[ModuleInfo]:
    for child in (network.modules[i] for i in module.children.values()):
        if _is_sequential(child):
            yield from _flat(network, child)
        else:
            yield child


def _is_sequential(module: ModuleInfo) -> bool:
    return "Sequential" in (module.cls.name, *(base.name for base in module.cls.bases))
