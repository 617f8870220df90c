"""A project that the server's tests look at."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch import nn

import initdsl
from initdsl.server.known import Known, known_at


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.up = nn.Linear(4, 16)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.blocks = nn.ModuleList([Block() for _ in range(3)])
        self.head = nn.Linear(4, 10, bias=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with settings, a manifest and a file to use."""
    place = tmp_path_factory.mktemp("project")
    (place / "pyproject.toml").write_text('[tool.initdsl]\nmanifest = "model.json"\n')
    (place / "model.json").write_text(json.dumps(initdsl.describe(Model())[0].to_manifest()))
    (place / "base.init").write_text("let gain = 2\nLinear.bias = 0\n")
    return place


@pytest.fixture(scope="module")
def known(folder: Path) -> Known:
    found = known_at(str(folder / "x.init"))
    assert found.network is not None
    return found


WHOLE = """let std = 0.02 # é 😀
use "base.init"
Linear(out_features=10).weight, /attn\\.(q|k)/ ~ kaiming_normal(mode=fan_in, nonlinearity=relu)
Block {
  .up.weight[0:2] ~ normal(0, std * 2) ; .norm.* = 1
  net.blocks[i].up { .bias = where(index(0) > 1, {"a": [1, 2]}, "x\\"y") }
}
tie net.embed.weight net.head.weight
net.**.w as (4, -1)[*] in Block *= abs(it) >= 5
"""
