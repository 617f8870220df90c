"""The values of the tensors that `load` names, when a plan is carried out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from initdsl.checkpoints.pickled import PICKLED, unpickled
from initdsl.checkpoints.reading import Safetensors
from initdsl.network.description import Live
from initdsl.text.files import reading

if TYPE_CHECKING:
    from initdsl.planning.actions import Load
    from initdsl.planning.plan import PlanEntry

__all__ = ["Files", "tensor_of"]


class Files:
    """The values of loaded tensors, for one run; a file is opened once, and may not change meanwhile."""

    def __init__(self) -> None:
        self._pickled: dict[str, dict[str, torch.Tensor]] = {}
        self._safe: dict[str, Safetensors] = {}

    def tensor(self, load: Load, index: tuple[slice, ...] = ()) -> torch.Tensor:
        """A tensor of a file, or the part of it that slices without steps select.

        Raises ValueError if it has changed shape, OSError if the file changes.
        """
        if load.path.endswith(PICKLED):
            if load.path not in self._pickled:
                with reading(load.path):
                    self._pickled[load.path] = unpickled(load.path, "cpu")
            found = self._pickled[load.path].get(load.key)
            self._same(load, None if found is None else tuple(found.shape))
            assert found is not None
            return found[index]
        if load.path not in self._safe:
            self._safe[load.path] = Safetensors(load.path, [load.path])
        described = self._safe[load.path].tensors.get(load.key)
        self._same(load, None if described is None else described.shape)
        return self._safe[load.path].read(load.key, index)

    def _same(self, load: Load, shape: tuple[int, ...] | None) -> None:
        if shape != load.shape:
            now = "is not there any more" if shape is None else f"has shape {list(shape)}"
            raise ValueError(f"`{load.key}` of `{load.path}` {now}, it had {list(load.shape)}")


def tensor_of(live: Live, entry: PlanEntry) -> torch.Tensor | None:
    """The tensor of an entry as the network uses it, a shard's own part where it is sharded; None if it has none."""
    owner, local = entry.tensor.owners[0]
    module = live.modules[owner]
    found: torch.Tensor | None = module._parameters.get(local)
    found = found if found is not None else module._buffers.get(local)
    if found is None:
        chain = getattr(module, "parametrizations", None)
        if isinstance(chain, nn.ModuleDict) and local in chain:
            modes = {part: part.training for part in chain.modules()}
            try:
                chain.eval()
                found = chain[local]()
            finally:
                for part, mode in modes.items():
                    part.training = mode
        else:  # what the hooks of the old `weight_norm` computed last
            found = module.__dict__.get(local)
    if not isinstance(found, torch.Tensor) or nn.parameter.is_lazy(found) or found.is_quantized:
        return None
    local_part = getattr(found, "to_local", None)
    shard: torch.Tensor = local_part() if local_part is not None else found
    return shard.detach()
