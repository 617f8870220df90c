"""The values of the tensors that `load` names, when a plan is carried out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from initdsl.checkpoints.open import Safetensors
from initdsl.planning.loads import PICKLED, unpickled
from initdsl.text.files import reading

if TYPE_CHECKING:
    import torch

    from initdsl.planning.plan import Load

__all__ = ["Reader"]


class Reader:
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
