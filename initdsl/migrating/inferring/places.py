"""Where tensors stand in their model, and how selectors name that."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from initdsl.network.description import Network
from initdsl.network.parts import ModuleInfo, child_label
from initdsl.text.wording import quoted

from .sampling import Sampled
from .tensor import Tensor

__all__ = ["anchor", "class_selector", "indexed", "placed", "template"]


class Stack(NamedTuple):
    """A place in a list of layers of one class: `Stack(layer=3, layers=12, label="net.blocks")`."""

    layer: int
    layers: int
    label: str


def placed(network: Network, one: Sampled) -> Tensor:
    """Return a sampled tensor with what formulas may speak of: its list of layers, and the weight beside it."""
    weight = one.module.parameters.get("weight")
    sibling = None if weight is None or one.local == "weight" else network.tensors[weight].shape
    names = tuple((network.modules[owner].cls.name, local) for owner, local in one.tensor.owners)
    stacks = list(_stacks(network, one.module))
    return Tensor(one, names, sibling, *(stacks[0] if len(stacks) == 1 else ()))


def _stacks(network: Network, module: ModuleInfo) -> Iterator[Stack]:
    """Yield each list of layers of one class that lies above a module, inner ones first."""
    while module.parents:
        parent, name = module.parents[0]
        module = network.modules[parent]
        alike = len({network.modules[child].cls for child in module.children.values()}) == 1 < len(module.children)
        if module.container == "list" and name.isdigit() and alike:
            yield Stack(int(name), len(module.children), module.label)


def anchor(network: Network, one: Sampled) -> tuple[str, str]:
    """Return the nearest module above that is no container, by class (`net` for the root), and the path from it."""
    path, module = [one.local], one.module
    while module.parents:
        parent, name = module.parents[0]
        path.append(name)
        module = network.modules[parent]
        if not module.container and module.cls.name != "Sequential":
            break
    start = module.cls.name if module.parents else "net"
    label = start
    for name in reversed(path[1:]):
        label = child_label(ModuleInfo(0, "", label, module.cls, "list" if name.isdigit() else ""), name)
    return start, f"{label}{_member(one.local)}"


def class_selector(one: Sampled) -> str | None:
    """Return the selector of all tensors of this name in modules of this class; None where no rule can name that class."""
    name = one.module.cls.name
    if not one.module.parents or not name.isidentifier() or name == "net":
        return None
    return f"{name}{_member(one.local)}"


def _member(local: str) -> str:
    return f".{local}" if local.isidentifier() or local.isdigit() else f"[{quoted(local)}]"


def template(network: Network, one: Sampled) -> str:
    """Return a tensor's path in all layers of the lists above it."""
    label = one.label
    for stack in _stacks(network, one.module):
        label = f"{stack.label}[*]{label.removeprefix(f'{stack.label}[{stack.layer}]')}"
    return label


def indexed(one: Sampled, stack_label: str) -> str:
    """Return a tensor's path with `i` for the layer in one list of layers."""
    return re.sub(re.escape(stack_label) + r"\[\d+\]", lambda _: f"{stack_label}[i]", one.label, count=1)
