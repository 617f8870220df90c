"""Constructors that move their modules, `.to(device)` and `.cpu()`: built without memory all the same, by every command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn

import initdsl
from initdsl import cli

DOUBLE = torch.ones(1, dtype=torch.float64)
MOVES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "to": lambda m: m.to("cpu"), "to device": lambda m: m.to(torch.device("cpu")), "by name": lambda m: m.to(device="cpu"), "cpu": lambda m: m.cpu(),
    "dtype too": lambda m: m.to("cpu", torch.float64), "all by name": lambda m: m.to(device="cpu", dtype=torch.bfloat16, non_blocking=True),
    "as another": lambda m: m.to(DOUBLE), "twice": lambda m: m.to("cpu").cpu().double(), "auto": lambda m: m.to("cuda" if torch.cuda.is_available() else "cpu"),
}  # fmt: skip


class Moved(nn.Module):
    """Moves a part, then all of it, as stable-baselines3's policies do."""

    def __init__(self, move: Callable[[nn.Module], nn.Module], parts: bool = True) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.LSTM(4, 4))
        if parts:
            self.net = move(self.net)
        self.log_std = nn.Parameter(torch.zeros(3).to("cpu"))
        self.register_buffer("steps", torch.arange(3, device=next(self.parameters()).device))
        move(self)


@pytest.mark.parametrize("parts", [True, False])
@pytest.mark.parametrize("move", MOVES)
def test_a_moved_network_is_built_without_memory(move: str, parts: bool) -> None:
    rules = "*.* ~ normal(0, 1); BatchNorm1d.* = 1"
    made = initdsl.materialize(lambda: Moved(MOVES[move], parts), rules, seed=4)
    usual = Moved(MOVES[move], parts)
    initdsl.apply(usual, rules, seed=4)
    for (name, one), (_, other) in zip(made.state_dict().items(), usual.state_dict().items(), strict=True):
        assert one.dtype == other.dtype, name
        assert torch.equal(one, other), name
    assert made.steps.tolist() == [0, 1, 2]


def test_a_device_that_is_not_here_does_not_stop_a_plan() -> None:
    """Parameters alone: they go where `device=` says."""
    made = initdsl.materialize(lambda: nn.Linear(2, 2).to("cuda"), "Linear.* = 1", seed=0)
    assert made.weight.device.type == "cpu"


def test_it_is_said_to_be_where_it_was_moved_to() -> None:
    told = []

    def build() -> nn.Module:
        net = nn.Linear(2, 2).to("meta")
        told.append(net.weight.device.type)
        told.append(net.weight.detach().to("cpu").device.type)
        return net.cpu()

    initdsl.materialize(build, "Linear.* = 1", seed=0)
    assert told == ["meta", "cpu"]


@pytest.mark.parametrize("read", [
    lambda weight: float(weight.cpu().sum()), lambda weight: weight.to("cpu").tolist(), lambda weight: weight.detach().cpu().numpy(), lambda weight: bool((weight.to("cpu") > 0).all()),
])  # fmt: skip
def test_values_are_still_missed(read: Callable[[torch.Tensor], object]) -> None:
    def build() -> nn.Module:
        net = nn.Linear(2, 2)
        read(net.weight.detach())
        return net

    with pytest.raises(initdsl.ResolveError, match="needs the values of parameters"):
        initdsl.materialize(build, "Linear.* = 1", seed=0)


def test_a_buffer_copied_from_a_moved_parameter_is_refused() -> None:
    def build() -> nn.Module:
        net = nn.Linear(2, 2)
        net.register_buffer("start", net.weight.detach().to("cpu"))
        return net

    with pytest.raises(initdsl.ResolveError, match="`start`"):
        initdsl.materialize(build, "Linear.* = 1", seed=0)


MODEL = """
import torch
from torch import nn
class Policy(nn.Module):
    def __init__(self, device="cpu"):
        super().__init__()
        self.body = nn.Linear(3, 4).to(device)
        self.register_buffer("mask", torch.ones(4).to(device))
        self.to(device)
"""


def test_every_command_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("policy_net.py").write_text(MODEL)
    Path("r.init").write_text("Linear.weight ~ normal(0, 1)\nLinear.bias = 0\n")
    for words in (
        "plan r.init", "explain body.weight r.init", "lint r.init", "manifest", "apply r.init --seed 1 -o out.safetensors",
        "verify r.init out.safetensors --seed 1", "apply r.init --seed 1 -o shards/",
    ):  # fmt: skip
        result = CliRunner().invoke(cli.group, [*words.split(), "--model", "policy_net.py:Policy"])
        assert result.exit_code == 0, (words, result.output)
