"""Networks to files: whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

__all__ = ["save"]


def save(net: nn.Module, path: str | os.PathLike[str], metadata: dict[str, str] | None = None) -> None:
    """Write a network's state to a safetensors file.

    The file is written beside its place under another name, and renamed once it is whole. Of the names of a shared
    tensor one is kept, and the metadata says which, as `safetensors.torch.load_model` expects.
    Raises OSError where the disk is full or the place can't be written to; then no file is left.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_model

    from .network import unwrap

    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise OSError(f"there is no folder `{folder}`")
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".initdsl-", suffix=".part")
    os.close(descriptor)
    try:
        save_model(unwrap(net), temporary, metadata={"format": "pt", **(metadata or {})})
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, target)
    except SafetensorError as error:
        raise OSError(f"can't write `{path}`: {error}") from None
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
