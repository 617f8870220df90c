"""`stream`: a model and its rules straight to files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Literal

from torch import nn

from initdsl.filling.to_disk import stream as to_disk
from initdsl.language.rules.loader import Rules

from .plan import with_live
from .report import Report

__all__ = ["stream"]


def stream(
    network: Callable[[], nn.Module] | nn.Module,
    rules: Rules,
    folder: str | os.PathLike[str],
    *,
    seed: int,
    max_shard_size: int | str = "5GB",
    format: Literal["safetensors", "dcp"] = "safetensors",
    vars: Mapping[str, Any] | None = None,
    strict: bool = False,
    initializers: Mapping[str, Callable[..., Any]] | None = None,
    root: str | os.PathLike[str] | None = None,
    on_progress: Callable[[int, int], Any] | None = None,
) -> Report:
    """Write the model that rules and a seed make to files, without ever having it in memory.

    `network` is a factory, called as in `materialize`, or a module on the meta device. The files in `folder` (made if
    it is not there) are those of transformers and huggingface_hub: `model-00001-of-00003.safetensors` and so on, each
    with at most `max_shard_size` (bytes, or text such as `"5GB"`) of tensors, and `model.safetensors.index.json`; what
    fits in one file is `model.safetensors`. The values are those of `materialize` with the same seed, bit for bit.
    Memory is bounded by some chunks of 4 MiB a thread, and by the largest tensor that can't be filled in parts: the
    report's notes name those. `torch.get_num_threads()` threads fill and write. Started again after it was stopped, it
    goes on after the last whole file. `on_progress` is called with the bytes that are written and those in all.

    With `format="dcp"` the folder is one of `torch.distributed.checkpoint`, which `dcp.load` reads into any mesh: files of
    chunks of at most 2**20 elements, of which each rank reads those it needs, with names as in the model's state dict. What
    is filled through a view (`as`) is held whole then, too.

    The other arguments are those of `apply`. Raises as `materialize` does, before anything is written; ApplyError where
    the folder holds other files of these names or a fill failed; OSError where the disk is full or can't be written to:
    then the files that are whole stay, and no other.

    >>> import os, tempfile
    >>> from torch import nn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = stream(lambda: nn.Linear(3, 2), "net.* ~ normal(0, 0.02)", folder, seed=0)
    ...     sorted(os.listdir(folder))
    ['model.safetensors', 'model.safetensors.index.json']
    """

    plan = to_disk.stream(
        network,
        rules,
        folder,
        seed=seed,
        max_shard_size=max_shard_size,
        format=format,
        vars=vars,
        strict=strict,
        initializers=initializers,
        root=root,
        on_progress=on_progress,
    )
    return Report(with_live(plan, None))
