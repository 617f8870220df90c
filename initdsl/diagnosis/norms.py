"""What normalization layers do with their weight: asked of the layers, since no list of other people's classes stays right."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn
from torch.func import functional_call

from initdsl.network.describe import describe
from initdsl.network.description import Live, Network
from initdsl.network.parts import ModuleInfo

__all__ = ["asked", "silencing_weight"]


def asked(net: nn.Module) -> tuple[Network, Live]:
    """Return what `describe` does, with what weight lets nothing through it said of every norm.

    Norms of one class and with the same attributes are asked once. This runs the forward pass of a copy of each.
    """
    network, live = describe(net)
    answers: dict[tuple[type, str], float | None] = {}

    def answer(info: ModuleInfo) -> float | None:
        if "weight" not in info.parameters or not info.is_norm:
            return None
        module = live.modules[info.index]
        key = (type(module), repr(sorted(info.attributes().items())))
        if key not in answers:
            answers[key] = silencing_weight(module)
        return answers[key]

    modules = tuple(info._replace(silenced_at=answer(info)) for info in network.modules)
    return replace(network, modules=modules), live


def silencing_weight(norm: nn.Module) -> float | None:
    """Return the weight with which a norm's output is 0 for an input that is not: 0, or -1 where it adds one to it.

    None where neither does it, or where it takes no input that is tried.
    """
    try:
        bare = copy.deepcopy(norm).to_empty(device="cpu").float().train()
        weight = bare.get_parameter("weight")
        with torch.no_grad(), torch.random.fork_rng(devices=[]), torch.device("cpu"):
            for values in _inputs(weight.shape):
                at_zero, at_minus_one, at_one = (_output(bare, number, values) for number in (0.0, -1.0, 1.0))
                if at_zero is None or at_minus_one is None or at_one is None:
                    continue
                if not at_zero.any() and at_one.any():
                    return 0.0
                return -1.0 if not at_minus_one.any() and at_zero.any() else None
    except Exception:  # somebody's code: it can raise anything
        return None
    return None


def _inputs(shape: torch.Size) -> Iterator[torch.Tensor]:
    """Yield what a norm with a weight of that shape may take: features last, then channels second in 3, 2, 1 dimensions."""
    generator = torch.Generator().manual_seed(0)
    yield torch.randn(2, 3, *shape, generator=generator)
    for dims in (2, 1, 3, 0):
        yield torch.randn(2, *shape[:1], *[3] * dims, generator=generator)


def _output(norm: nn.Module, number: float, values: torch.Tensor) -> torch.Tensor | None:
    """Return what a norm makes of an input with one number for its weight and 0 for its other parameters; None where it raises."""
    state = {name: torch.zeros_like(tensor) for name, tensor in norm.named_parameters()}
    state |= {name: torch.ones_like(tensor) for name, tensor in norm.named_buffers()}
    state["weight"] = torch.full_like(state["weight"], number)
    for inputs in ((values,), (values, values)):  # some take a gate as well
        try:
            output = functional_call(norm, state, tuple(each.clone() for each in inputs))
        except Exception:  # somebody's code
            continue
        if isinstance(output, torch.Tensor):
            return output
    return None
