"""What tests of `stream` share: a model, and what is in the files of a folder."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from tests.support.code import ROOT
from tests.support.processes import python

MLP = "Linear.weight ~ normal(0, 0.02); Linear.bias = 0"


def mlp(width: int = 64, layers: int = 6) -> nn.Module:
    return nn.Sequential(*(nn.Linear(width, width) for _ in range(layers)))


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Everything in a folder, through its index."""
    listed = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    found: dict[str, torch.Tensor] = {}
    for file in sorted(set(listed.values())):
        found |= load_file(folder / file)
    assert set(found) == set(listed)
    return found


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def on_one_thread(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("INITDSL_KERNEL", None)
    return python(*words, env=environment, **options)
