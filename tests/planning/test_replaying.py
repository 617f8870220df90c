"""Saved plans: carried out as they were made, and refused where the model is another by then."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tests.support.pages import initdsl_command

MODEL = """
from torch import nn

def build(width=8, activation=nn.ReLU, more=(), dtype=None):
    net = nn.Sequential(nn.Linear(4, width), activation(), nn.Linear(width, 4), nn.Linear(4, 4), *more)
    return net.to(dtype=dtype)

def wider(): return build(9)
def other_class(): return build(activation=nn.Tanh)
def longer(): return build(more=[nn.LayerNorm(4)])
def half(): return build(dtype=__import__("torch").float16)
def shorter(): return build()[:3]

def padded():
    net = build()
    net[0].in_features = 3  # an attribute that rules read
    return net
"""
RULES = """let std = 0.01
use "biases.init"
Linear.weight ~ normal(0, std / in_features)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "rules.init").write_text(RULES)
    (tmp_path / "biases.init").write_text("Linear.bias = 0\n")
    code, said = run("plan", "rules.init", "--seed", "7", "--set", "std=0.5", "-o", "plan.json")
    assert code == 0, said
    return tmp_path


def run(*words: str, model: str = "build") -> tuple[int, str]:
    return initdsl_command([words[0], *words[1:], "--model", f"model.py:{model}"])


def test_a_saved_plan_makes_what_its_rules_do(folder: Path) -> None:
    assert run("apply", "plan.json", "-o", "planned.safetensors") == run(
        "apply", "rules.init", "--seed", "7", "--set", "std=0.5", "-o", "made.safetensors"
    )
    planned, made = load_file("planned.safetensors"), load_file("made.safetensors")
    assert planned.keys() == made.keys() == {f"{n}.{p}" for n in (0, 2, 3) for p in ("weight", "bias")}
    assert all(torch.equal(planned[name], made[name]) for name in made)
    with safe_open("planned.safetensors", "pt") as one, safe_open("made.safetensors", "pt") as other:
        assert one.metadata() == other.metadata()


def test_a_saved_plan_is_streamed(folder: Path) -> None:
    assert run("apply", "plan.json", "-o", "out/", "-q") == (0, "")
    assert run("apply", "plan.json", "-o", "one.safetensors", "-q") == (0, "")
    streamed, one = load_file("out/model.safetensors"), load_file("one.safetensors")
    assert all(torch.equal(streamed[name], one[name]) for name in one)
    code, said = run("apply", "plan.json", "-o", "other/", model="wider")
    assert (code, "error[changed-network]" in said, Path("other").exists()) == (2, True, False)


def test_a_plan_of_text_is_carried_out(folder: Path) -> None:
    import initdsl

    net = torch.nn.Sequential(torch.nn.Linear(4, 8))
    initdsl.plan(net, "let std = 1; Linear.weight ~ normal(0, std); Linear.bias = 2").save("text.json")
    (folder / "small.py").write_text("from torch import nn\ndef build(): return nn.Sequential(nn.Linear(4, 8))\n")
    assert initdsl_command(["apply", "text.json", "--model", "small.py:build", "-o", "x.safetensors", "-q"]) == (0, "")
    assert load_file("x.safetensors")["0.bias"].tolist() == [2.0] * 8


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        ("wider", "`0.weight` is [9, 4], not [8, 4]; `0.bias` is [9], not [8]"),
        ("other_class", "its modules have other classes or names"),
        ("longer", "`4.weight`, `4.bias` are new"),
        ("shorter", "it has no `3.weight`, `3.bias`"),
        ("half", "`0.weight` is float16, not float32"),
    ],
)
def test_another_network_is_refused(folder: Path, model: str, wanted: str) -> None:
    code, said = run("apply", "plan.json", "-o", "x.safetensors", model=model)
    assert (code, (folder / "x.safetensors").exists()) == (2, False)
    assert said.startswith("error[changed-network]: the model is not the one the plan was made for: ")
    assert wanted in said


def test_an_attribute_that_rules_read_is_looked_at(folder: Path) -> None:
    code, said = run("apply", "plan.json", model="padded")
    assert code == 2
    assert "error[changed-plan]: the plan does not say what its rules come to for `0.weight`" in said


def lines(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


@pytest.mark.parametrize(
    ("file", "change", "wanted"),
    [
        (
            "rules.init",
            lambda text: text.replace("0.01", "0.02"),
            ["line 1 was `let std = 0.01`", "1 | let std = 0.02"],
        ),
        ("biases.init", lambda text: text.replace("0", "1"), ["line 1 was `Linear.bias = 0`", "1 | Linear.bias = 1"]),
        ("rules.init", lambda text: text + "Linear.bias = 3\n", ["4 | Linear.bias = 3"]),
        ("rules.init", lambda text: text.replace('use "biases.init"\n', ""), ["line 2 was `use"]),
        ("rules.init", lambda text: "# a comment\n" + text, ["1 | # a comment"]),
    ],
)
def test_other_rules_are_told(folder: Path, file: str, change: Callable[[str], str], wanted: list[str]) -> None:
    run("apply", "plan.json", "-o", "then.safetensors")
    lines(folder / file, change)
    code, said = run("apply", "plan.json", "-o", "now.safetensors")
    assert code == 0
    assert (folder / "now.safetensors").read_bytes() == (folder / "then.safetensors").read_bytes()
    assert said.startswith("warning[changed-rules]: the rules have changed since the plan `plan.json` was made")
    for text in wanted:
        assert text in said


def test_a_plan_that_was_edited_is_refused(folder: Path) -> None:
    saved = json.loads((folder / "plan.json").read_text())
    saved["entries"][1]["effect"] = "= 1"
    (folder / "plan.json").write_text(json.dumps(saved))
    code, said = run("apply", "plan.json")
    assert code == 2
    assert "the plan does not say what its rules come to for `0.bias`: = 0" in said


def without(key: str) -> Callable[[Any], Any]:
    return lambda saved: {k: v for k, v in saved.items() if k != key}


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (without("rules"), "the plan `plan.json` is damaged"),
        (without("entries"), "the plan `plan.json` is damaged"),
        (lambda saved: {**saved, "rules": {"root": 3, "sources": {"a": "b"}}}, "is damaged"),
        (lambda saved: {**saved, "version": 99}, "plan version 99 is not understood"),
        (lambda saved: {**saved, "format": "initdsl-report"}, "it says that it is `initdsl-report`"),
        (lambda saved: {**saved, "seed": "seven"}, "a seed is an integer"),
        (lambda saved: [saved], "it is other JSON"),
    ],
)
def test_what_is_no_plan_is_refused(folder: Path, change: Callable[[Any], Any], wanted: str) -> None:
    (folder / "plan.json").write_text(json.dumps(change(json.loads((folder / "plan.json").read_text()))))
    code, said = run("apply", "plan.json")
    assert code == 2
    assert wanted in said


def test_what_is_not_there_is_told(folder: Path) -> None:
    assert run("apply", "none.json") == (
        2,
        "error[usage]: can't read the plan `none.json`: no such file or directory\n",
    )
    (folder / "half.json").write_text('{"format": ')
    code, said = run("apply", "half.json")
    assert (code, said.startswith("error[usage]: `half.json` is no plan: ")) == (2, True)
    code, said = run("apply", "plan.json", "--seed", "3")
    assert (code, said.splitlines()[1]) == (2, "  = hint: leave out `--seed`, or make another plan")


def test_the_rule_files_are_not_needed(folder: Path) -> None:
    assert run("apply", "plan.json", "-o", "then.safetensors")[0] == 0
    for path in folder.glob("*.init"):
        path.unlink()
    code, said = run("apply", "plan.json", "-o", "now.safetensors")
    assert (code, "changed-rules" in said) == (0, False)
    assert (folder / "now.safetensors").read_bytes() == (folder / "then.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["../token", "../token.init", "/proc/self/environ", "link.init"])
def test_a_plan_of_somebody_shows_no_file_of_this_machine(name: str, folder: Path) -> None:
    for place in ("token", "token.init"):
        (folder.parent / place).write_text("Token.ghp_secret = 1\n")
    (folder / "link.init").symlink_to("../token.init")
    saved = json.loads((folder / "plan.json").read_text())
    texts = dict(saved["rules"]["sources"])
    texts = {name: texts.pop("rules.init"), **texts}
    saved["rules"] = {"root": "/", "sources": texts}
    (folder / "plan.json").write_text(json.dumps(saved).replace("rules.init:", f"{name}:"))
    _, said = run("apply", "plan.json")
    assert "ghp_secret" not in said
    assert "PATH=" not in said


def test_a_plan_of_somebody_loads_nothing_from_outside(folder: Path) -> None:
    from safetensors.torch import save_file

    save_file({"weight": torch.ones(8, 4)}, folder.parent / "private.safetensors")
    (folder.parent / "rules.init").write_text('net[0].weight = load("private.safetensors", key="weight")\n')
    code, said = run("plan", "../rules.init", "-o", "plan.json")
    assert code == 0, said
    code, said = run("apply", "plan.json")
    assert (code, "outside-root" in said) == (2, True), said
