"""Small models, and what the tests of the language ask of every one of them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import initdsl


def filled(net: nn.Module, value: float = 7.0) -> nn.Module:
    """`net` with every parameter at one value, so that whatever a rule writes shows."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(value)
    return net


def mlp(layers: int = 3, width: int = 4) -> nn.Sequential:
    """Linear layers at the even places, ReLU between."""
    parts: list[nn.Module] = []
    for _ in range(layers):
        parts += [nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


class Block(nn.Module):
    """A layer of a transformer in miniature."""

    def __init__(self, width: int = 4, number: int = 0):
        super().__init__()
        self.number = number
        self.attn = nn.MultiheadAttention(width, 2)
        self.proj = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)


class Tower(nn.Module):
    """A stem, blocks and a head; `scale` is the net's own parameter."""

    def __init__(self, depth: int = 3, width: int = 4):
        super().__init__()
        self.depth = depth
        self.embed = nn.Embedding(6, width, padding_idx=2)
        self.layers = nn.ModuleList(Block(width, i) for i in range(depth))
        self.head = nn.Linear(width, 6, bias=False)
        self.scale = nn.Parameter(torch.ones(width))


class FancyLinear(nn.Linear):
    """A subclass that adds nothing."""


class Pair(nn.Module):
    """Two modules and a parameter of its own."""

    def __init__(self, left: nn.Module, right: nn.Module):
        super().__init__()
        self.left, self.right = left, right
        self.gain = nn.Parameter(torch.ones(2))


LEAVES = {
    "linear": lambda: nn.Linear(2, 3), "fancy": lambda: FancyLinear(3, 2, bias=False), "norm": lambda: nn.LayerNorm(2),
    "batch": lambda: nn.BatchNorm1d(2), "relu": nn.ReLU, "embed": lambda: nn.Embedding(2, 2),
    "conv": lambda: nn.Conv1d(2, 4, 3), "lstm": lambda: nn.LSTM(2, 2),
}  # fmt: skip


def build(shape: Any) -> nn.Module:
    """The model of one of `strategies.network_shapes`."""
    if isinstance(shape, str):
        return LEAVES[shape]()
    kind, parts = shape
    children = [build(part) for part in parts]
    if kind == "seq":
        return nn.Sequential(*children)
    if kind == "list":
        return nn.ModuleList(children)
    if kind == "dict":
        return nn.ModuleDict({str(i + 3): child for i, child in enumerate(children)})
    if kind == "named":
        return nn.ModuleDict({f"k{i}": child for i, child in enumerate(children)})
    return Pair(children[0], build(parts[-1]))


class Tensors(nn.Module):
    """Parameters of any shape and dtype, by name; `buffers` likewise."""

    def __init__(self, buffers: dict[str, torch.Tensor] | None = None, **tensors: torch.Tensor):
        super().__init__()
        for name, tensor in tensors.items():
            real = tensor.is_floating_point() or tensor.is_complex()
            self.register_parameter(name, nn.Parameter(tensor, requires_grad=real))
        for name, tensor in (buffers or {}).items():
            self.register_buffer(name, tensor)


def written(net: nn.Module, rules: str, **options: Any) -> set[str]:
    """The names of the parameters and buffers a rule text changes, the value 7 before."""
    before = {n: t.detach().clone() for n, t in named(filled(net)).items()}
    initdsl.apply(net, rules, **options)
    return {n for n, t in named(net).items() if not torch.equal(t, before[n])}


def named(net: nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter and buffer under every name it has."""
    found: dict[str, torch.Tensor] = dict(net.named_parameters(remove_duplicate=False))
    found.update(net.named_buffers(remove_duplicate=False))
    return found


def snapshot(net: nn.Module) -> dict[str, Any]:
    """All that a failed apply must leave as it was: objects, bits, flags, strides, random states."""
    state: dict[str, Any] = {
        "torch": torch.random.get_rng_state(), "python": random.getstate(), "modes": [m.training for m in net.modules()]
    }  # fmt: skip
    for name, module in net.named_modules(remove_duplicate=False):
        inside = vars(module)
        state[f"{name}:flat"] = [id(t) for t in inside.get("_flat_weights", [])]
        state[f"{name}:parameters"] = {k: id(v) for k, v in inside["_parameters"].items()}
        state[f"{name}:buffers"] = {k: id(v) for k, v in inside["_buffers"].items()}
        state[f"{name}:hooks"] = {k: list(v.items()) for k, v in inside.items() if k.endswith("_hooks")}
        state[f"{name}:order"] = [*inside["_parameters"], *inside["_buffers"]]
        plain = {k: v for k, v in inside.items() if isinstance(v, torch.Tensor)}
        for key, tensor in {**inside["_parameters"], **inside["_buffers"], **plain}.items():
            if tensor is not None and not nn.parameter.is_lazy(tensor):
                state[f"{name}:{key}"] = bits(tensor)
    return state


def bits(tensor: torch.Tensor) -> tuple[Any, ...]:
    """A tensor down to the last bit, NaN's payload included."""
    if tensor.device.type == "meta" or tensor.is_quantized:
        return (tensor.shape, tensor.dtype)
    data = tensor.detach().contiguous().reshape(-1).view(torch.uint8).tolist() if tensor.numel() else []
    return (tensor.shape, tensor.stride(), tensor.dtype, tensor.requires_grad, data)


def same(a: dict[str, Any], b: dict[str, Any]) -> None:
    """Two snapshots agree; names what does not."""
    assert a.keys() == b.keys()
    for key in a:
        equal = torch.equal(a[key], b[key]) if isinstance(a[key], torch.Tensor) else a[key] == b[key]
        assert equal, f"{key} has changed"


def names_of(error: initdsl.InitDSLError) -> list[str]:
    """The kebab-case names of an error's findings."""
    return [finding.name for finding in error.diagnostics]


def deep(depth: int, width: int, activation: Callable[[], nn.Module]) -> nn.Sequential:
    return nn.Sequential(*[part for _ in range(depth) for part in (nn.Linear(width, width), activation())])
