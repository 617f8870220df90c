"""`verify` of files of `torch.save`, and which elements of a tensor it says to differ."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import initdsl
from initdsl.verifying.exactly import Difference
from tests.support.command import run

RULES = "Linear.weight ~ normal(0, 0.1); Linear.bias = 0"


def net() -> nn.Module:
    made = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 4))
    initdsl.apply(made, RULES, seed=3)
    return made


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt"])
@pytest.mark.parametrize("prefix", ["", "model.", "module."])
def test_a_state_dict_is_verified(suffix: str, prefix: str, tmp_path: Path) -> None:
    made, path = net(), tmp_path / f"net{suffix}"
    state = {f"{prefix}{name}": tensor for name, tensor in made.state_dict().items()}
    torch.save(state, path)
    assert initdsl.verify(path, RULES, 3, model=net())
    assert not initdsl.verify(path, RULES, 4, model=net())
    state[f"{prefix}1.weight"][2, 5] += 1
    torch.save(state, path)
    (check,) = initdsl.verify(path, RULES, 3, model=net()).drifted
    assert check.message == "1 of 24 elements differ, the farthest by 1: [2, 5]"


def test_a_state_dict_inside_a_checkpoint_is_verified(tmp_path: Path) -> None:
    torch.save({"state_dict": net().state_dict(), "epoch": 3}, tmp_path / "net.ckpt")
    assert initdsl.verify(tmp_path / "net.ckpt", RULES, 3, model=net())


def test_the_command_line_verifies_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(net().state_dict(), "net.pt")
    Path("r.init").write_text("/weight/ ~ normal(0, 0.1)\n/bias/ = 0\n")
    assert run("verify r.init net.pt --seed 3").exit_code == 0
    assert run("verify r.init net.pt --seed 4").exit_code == 1


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch evil",)


def test_a_pickle_that_holds_more_is_refused_and_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("r.init").write_text("/weight/ = 0\n")
    Path("evil.pt").write_bytes(pickle.dumps(Evil()))
    torch.save(net(), "whole.pt")
    for name in ("evil.pt", "whole.pt"):
        result = run(f"verify r.init {name}")
        assert result.exit_code == 2
        assert "holds more than tensors" in result.stderr
    assert not Path("evil").exists()
    for data in (b"", b"PK\x03\x04", b"\xff" * 64):
        Path("bad.pt").write_bytes(data)
        result = run("verify r.init bad.pt")
        assert result.exit_code == 2
        assert "bad.pt`" in result.stderr


# ---- which elements


def difference(shape: tuple[int, ...], *places: tuple[Any, ...]) -> str:
    values, wanted = torch.zeros(shape), torch.zeros(shape)
    for place in places:
        values[place] = 2.0
    found = Difference()
    for rows in range(0, shape[0], 4):  # in pieces
        part = slice(rows, rows + 4)
        found.add(values[part], wanted[part], (range(rows, rows + 4), *map(range, shape[1:])))
    return found.message(shape)


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ([(9, 2)], "1 of 48 elements differ, the farthest by 2: [9, 2]"),
        ([(0, 0), (5, 1), (9, 2)], "3 of 48 elements differ, the farthest by 2: [0, 0], [5, 1], [9, 2]"),
        ([(2,), (9,)], "8 of 48 elements differ, the farthest by 2, in rows 2 to 9 of 12"),
        ([(7,)], "4 of 48 elements differ, the farthest by 2, in row 7"),
        ([(slice(None), 0)], "12 of 48 elements differ, the farthest by 2"),
    ],
)
def test_few_elements_are_named_and_more_of_them_by_their_rows(places: list[tuple[Any, ...]], said: str) -> None:
    assert difference((12, 4), *places) == said


def test_a_vector_has_indices_too() -> None:
    assert difference((12,), (3,), (11,)) == "2 of 12 elements differ, the farthest by 2: [3], [11]"


def test_what_no_rule_determines_is_not_named() -> None:
    rules = "net.weight[0:4] = 0; net.weight[6:] = 1; net.bias = 0"
    made = nn.Linear(5, 8)
    initdsl.apply(made, rules)
    with torch.no_grad():
        made.weight[4:6] = 9
        made.weight[7, 1] = 3
    (check,) = initdsl.verify(made, rules).drifted
    assert check.message.startswith("1 of 40 elements differ, the farthest by 2: [7, 1]")
