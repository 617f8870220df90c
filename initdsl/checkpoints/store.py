"""Tensors with names, read in pieces, wherever they are kept."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    from torch import nn

__all__ = ["CHUNK", "Described", "Piece", "Store", "Tensors", "boxes", "of_module"]


# elements of a tensor that are in memory at a time
CHUNK = 1 << 20


class Described(NamedTuple):
    """A tensor that is not read yet: `Described((8, 4), torch.float32)`."""

    shape: tuple[int, ...]
    dtype: torch.dtype


class Piece(NamedTuple):
    """A box of a tensor: `Piece((range(0, 2), range(0, 4)), values)`, with `values` of shape [2, 4]."""

    extents: tuple[range, ...]
    values: torch.Tensor


def boxes(shape: tuple[int, ...], most: int = CHUNK) -> Iterator[tuple[tuple[range, ...], int]]:
    """Yield boxes of at most `most` elements that tile a tensor, as `(extents, number of its first element)`.

    The elements of a box follow one another in row-major order.
    """
    if 0 in shape:
        return
    # dimensions before `cut` are taken one index at a time, `inner` elements lie in one index of the dimension `cut`
    cut, inner = 0, math.prod(shape[1:])
    while inner > most:
        cut += 1
        inner = math.prod(shape[cut + 1 :])
    if not shape:
        yield (), 0
        return
    rows = max(1, most // inner)
    size = math.prod(shape[cut:])
    for number, outer in enumerate(product(*map(range, shape[:cut]))):
        fixed = tuple(range(i, i + 1) for i in outer)
        for row in range(0, shape[cut], rows):
            extent = range(row, min(row + rows, shape[cut]))
            yield (*fixed, extent, *map(range, shape[cut + 1 :])), number * size + row * inner


@dataclass
class Store:
    """Named tensors that can be read in pieces: `open_store("model.safetensors")`.

    `where` names them in messages. `others` map further names of shared tensors to the names in `tensors`, `renamed` the
    names left by `cut` to those under which the tensors are stored.
    """

    where: str
    tensors: dict[str, Described] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)

    def whole(self, name: str) -> torch.Tensor:
        """Return one tensor, in memory."""
        shape, dtype = self.tensors[name]
        out = torch.empty(shape, dtype=dtype)
        for extents, values in self.pieces(name):
            out[tuple(slice(e.start, e.stop) for e in extents)] = values
        return out

    def pieces(self, name: str) -> Iterator[Piece]:
        """Yield one tensor in boxes of bounded size, in any order, each element once."""
        raise NotImplementedError

    def cut(self, prefix: str) -> None:
        """Keep the tensors whose names start with `prefix`, under what follows it."""
        self.renamed = {n.removeprefix(prefix): n for n in self.tensors if n.startswith(prefix)}
        self.tensors = {short: self.tensors[name] for short, name in self.renamed.items()}
        self.others = {
            n.removeprefix(prefix): f.removeprefix(prefix) for n, f in self.others.items() if n.startswith(prefix)
        }


class Tensors(Store):
    """The tensors of a state dict: `Tensors({"0.weight": tensor})`.

    A DTensor is gathered when it is read, so all ranks have to read the same tensors in the same order.
    """

    def __init__(self, state: Mapping[str, torch.Tensor], where: str = "the state dict"):
        super().__init__(where)
        self.state: dict[str, torch.Tensor] = {}
        first_names: dict[object, str] = {}
        for name, tensor in state.items():
            if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
                if isinstance(name, str) and "_extra_state" in name:
                    continue
                raise TypeError(f"a state dict maps names to tensors; `{name}` is {type(tensor).__name__}")
            if tensor.is_meta:
                raise ValueError(f"`{name}` is on the meta device and has no values to verify")
            local = tensor.to_local() if hasattr(tensor, "to_local") else tensor
            memory = (local.device, local.data_ptr(), tuple(local.shape), local.stride(), local.dtype)
            # tensors without elements have no memory to share
            first = first_names.setdefault(memory, name) if local.numel() else name
            if first != name:
                self.others[name] = first
            self.state[name] = tensor
            self.tensors[name] = Described(tuple(tensor.shape), tensor.dtype)

    def whole(self, name: str) -> torch.Tensor:
        tensor: Any = self.state[self.renamed.get(name, name)]
        with torch.no_grad():
            full: torch.Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
            return full.detach().cpu()

    def pieces(self, name: str) -> Iterator[Piece]:
        tensor = self.whole(name)
        for extents, _ in boxes(tuple(tensor.shape)):
            yield Piece(extents, tensor[tuple(slice(e.start, e.stop) for e in extents)])


def of_module(net: nn.Module) -> Tensors:
    """Return a model's parameters and buffers under all their names, with those that its state dict leaves out."""
    state: dict[str, torch.Tensor] = {}
    for named in (net.named_parameters(remove_duplicate=False), net.named_buffers(remove_duplicate=False)):
        state.update(named)
    return Tensors(state, "the model")
