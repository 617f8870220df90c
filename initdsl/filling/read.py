"""The values of the tensors that `load` names, when a plan is carried out."""

from __future__ import annotations

import torch
from torch import nn

from initdsl.checkpoints.pickled import PICKLED, unpickled
from initdsl.checkpoints.safetensors import Safetensors
from initdsl.network.description import Live
from initdsl.planning.actions import Load
from initdsl.planning.plan import PlanEntry
from initdsl.text.files import reading

from .boxes import memory_of

__all__ = ["Files", "held_by", "tensor_of"]


class Files:
    """The files that rules load, open for one run: each is opened once, and may not change meanwhile."""

    def __init__(self) -> None:
        self._pickled: dict[str, dict[str, torch.Tensor]] = {}
        self._safe: dict[str, Safetensors] = {}

    def tensor(self, load: Load, index: tuple[slice, ...] = ()) -> torch.Tensor:
        """Return a tensor of a file, or the part of it that slices without steps select.

        Raises ValueError if it has changed shape, OSError if the file changes.
        """
        if load.path.endswith(PICKLED):
            if load.path not in self._pickled:
                with reading(load.path):
                    self._pickled[load.path] = unpickled(load.path, "cpu")
            stored = self._pickled[load.path].get(load.key)
            self._refuse_changed(load, None if stored is None else tuple(stored.shape))
            assert stored is not None
            return stored[index]
        if load.path not in self._safe:
            self._safe[load.path] = Safetensors(load.path, [load.path])
        described = self._safe[load.path].tensors.get(load.key)
        self._refuse_changed(load, None if described is None else described.shape)
        return self._safe[load.path].read(load.key, index)

    def _refuse_changed(self, load: Load, shape: tuple[int, ...] | None) -> None:
        if shape != load.shape:
            now = "is not there any more" if shape is None else f"has shape {list(shape)}"
            raise ValueError(f"`{load.key}` of `{load.path}` {now}, it had {list(load.shape)}")


def held_by(module: nn.Module, local: str) -> torch.Tensor | None:
    """Return the parameter or buffer that a module holds under a name."""
    parameter = module._parameters.get(local)
    return parameter if parameter is not None else module._buffers.get(local)


def tensor_of(live: Live, entry: PlanEntry) -> torch.Tensor | None:
    """Return the tensor of an entry as the model uses it, a shard's own part where it is sharded; None if it has none."""
    owner, local = entry.tensor.owners[0]
    module = live.modules[owner]
    tensor = held_by(module, local)
    if tensor is None:
        chain = getattr(module, "parametrizations", None)
        if isinstance(chain, nn.ModuleDict) and local in chain:
            modes = {part: part.training for part in chain.modules()}
            try:
                chain.eval()
                tensor = chain[local]()
            finally:
                for part, mode in modes.items():
                    part.training = mode
        else:  # what the hooks of the old `weight_norm` computed last
            tensor = module.__dict__.get(local)
    if not isinstance(tensor, torch.Tensor) or nn.parameter.is_lazy(tensor) or tensor.is_quantized:
        return None
    return memory_of(tensor)
