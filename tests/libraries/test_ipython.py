"""`%%initdsl` in a real IPython: the plan is shown, the model filled, and a mistake is said without a traceback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

import initdsl

interactiveshell = pytest.importorskip("IPython.core.interactiveshell")

RULES = "Linear.weight ~ normal(0, std)\nLinear.bias = 0\n"
WITH_LET = f"let std = 0.02\n{RULES}"


@pytest.fixture
def shell() -> Iterator[object]:
    """A shell of its own, with a model in it."""
    interactiveshell.InteractiveShell.clear_instance()
    made = interactiveshell.InteractiveShell.instance()
    made.run_line_magic("load_ext", "initdsl")
    made.user_ns["net"] = nn.Linear(3, 2)
    yield made
    interactiveshell.InteractiveShell.clear_instance()


def run(shell: object, line: str, cell: str = WITH_LET) -> object:
    return shell.run_cell(f"%%initdsl {line}\n{cell}")  # type: ignore[attr-defined]


def test_the_plan_is_shown_and_the_model_filled(shell: object, capsys: pytest.CaptureFixture[str]) -> None:
    run(shell, "net --seed 7")
    said = capsys.readouterr().out
    assert "~ normal(0, std)" in said
    assert "2 set (8 elements)" in said
    alone = nn.Linear(3, 2)
    initdsl.apply(alone, WITH_LET, seed=7)
    net = shell.user_ns["net"]  # type: ignore[attr-defined]
    assert torch.equal(net.weight, alone.weight)
    assert not net.bias.any()
    assert str(shell.user_ns["_report"]["bias"]) == "Init net.bias [2] = 0"  # type: ignore[attr-defined]


def test_a_plan_changes_nothing(shell: object, capsys: pytest.CaptureFixture[str]) -> None:
    net = shell.user_ns["net"]  # type: ignore[attr-defined]
    before = net.weight.clone()
    run(shell, "net --plan")
    assert "~ normal(0, std)" in capsys.readouterr().out
    assert torch.equal(net.weight, before)


def test_quiet_gives_the_report(shell: object, capsys: pytest.CaptureFixture[str]) -> None:
    done = run(shell, "net --quiet")
    assert isinstance(done.result, initdsl.Report)  # type: ignore[attr-defined]


def test_values_are_numbers_or_names(shell: object) -> None:
    shell.user_ns["wide"] = 100.0  # type: ignore[attr-defined]
    for value in ("100", "wide"):
        run(shell, f"net --seed 1 --set std={value}")
        assert shell.user_ns["net"].weight.std() > 10  # type: ignore[attr-defined]


def test_a_part_of_a_model(shell: object) -> None:
    shell.user_ns["trainer"] = nn.ModuleDict({"model": nn.Linear(2, 2)})  # type: ignore[attr-defined]
    run(shell, "trainer.model", "Linear.* = 1\n")
    assert shell.user_ns["trainer"]["model"].weight.sum() == 4  # type: ignore[attr-defined]


def test_uncovered_parameters_are_in_the_plan_alone(shell: object, capsys: pytest.CaptureFixture[str]) -> None:
    run(shell, "net", "Linear.bias = 0\n")
    said = capsys.readouterr()
    assert "uncovered" in said.out
    assert said.err == ""


@pytest.mark.parametrize(
    ("line", "cell", "words"),
    [
        ("nett", WITH_LET, "there is no `nett` in this notebook; did you mean `net`?"),
        ("net.body", WITH_LET, "there is no `body` in `net`"),
        ("net.weight", WITH_LET, "`net.weight` is no nn.Module, it is of type Parameter"),
        ("net", "Linear.weight ~ kaimin_normal()\n", "did you mean `kaiming_normal`?"),
        ("net --strict", "Linear.bias = 0\n", "uncovered-parameter"),
        ("net --set std", WITH_LET, "`std` is not of the form NAME=VALUE"),
        ("net --set std=x", WITH_LET, "`x` is no number, and no name of this notebook"),
        ("net --set stdd=1", WITH_LET, "stdd"),
        ("net --seed -1", WITH_LET, "seed"),
        ("net --sed 1", WITH_LET, "unrecognized arguments: --sed 1"),
        ("", WITH_LET, "the following arguments are required: model"),
    ],
)
def test_a_mistake_is_said_without_a_traceback(
    shell: object, capsys: pytest.CaptureFixture[str], line: str, cell: str, words: str
) -> None:
    net = shell.user_ns["net"]  # type: ignore[attr-defined]
    before = net.weight.clone()
    run(shell, line, cell)
    said = capsys.readouterr()
    assert words in said.err + said.out
    assert "Traceback" not in said.err + said.out
    assert torch.equal(net.weight, before)
