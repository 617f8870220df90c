"""Code runs where the command line names it, or where the folder is trusted by an option: one rule for all commands."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import initdsl
from initdsl.cli import fmt
from tests.support.command import run

SETTINGS = '[tool.initdsl]\nmodel = "net.py:make"\n'
# the commands, and what each says where only the settings name a network
NEEDED = {
    "apply": "apply rules.init -q",
    "diagnose": "diagnose rules.init",
    "explain": "explain 0.weight rules.init",
    "infer": "infer",
    "manifest": "manifest",
    "plan": "plan rules.init",
    "verify": "verify rules.init x.safetensors",
}
NOT_NEEDED = {
    "convert": "convert settings.json",
    "fmt": "fmt --check .",
    "lint": "lint .",
    "lint --fix": "lint --fix .",
    "list": "list recipes",
}
WAYS = {"verify": "`--no-trust` to go by the names in the file alone", "plan": "give `--model` or `--manifest`"}
WAYS["explain"] = WAYS["plan"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    fmt._project.cache_clear()
    (tmp_path / "pyproject.toml").write_text(SETTINGS)
    (tmp_path / "net.py").write_text(
        "open('ran', 'w').close()\nfrom torch import nn\nmake = lambda: nn.Sequential(nn.Linear(4, 4))\n"
    )
    (tmp_path / "rules.init").write_text("net[0].weight ~ normal(0, 0.02)\nnet[0].bias = 0\n")
    (tmp_path / "settings.json").write_text('[[".*bias", {"type": "zero"}]]')
    drawn = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)) / 50
    save_file({"0.weight": drawn, "0.bias": torch.zeros(4)}, tmp_path / "x.safetensors")
    yield tmp_path
    for name in ("net", "far_off"):
        sys.modules.pop(name, None)


def ran() -> bool:
    return Path("ran").exists()


@pytest.mark.parametrize("name", NEEDED)
def test_a_command_says_what_to_type(name: str) -> None:
    result = run(NEEDED[name])
    assert result.exit_code == 2
    assert (
        "pyproject.toml` names the model `net.py:make`: code that runs only in a folder that you trust" in result.stderr
    )
    assert f"add `--trust` to run it, or {WAYS.get(name, 'give `--model`')}" in result.stderr
    assert not ran()


@pytest.mark.parametrize("name", [*NEEDED, "lint"])
def test_it_runs_where_the_folder_is_trusted(name: str) -> None:
    assert run(f"{(NEEDED | NOT_NEEDED)[name]} --trust").exit_code in (0, 1)
    assert ran()


@pytest.mark.parametrize("name", [*NEEDED, "lint"])
def test_it_never_runs_where_the_folder_is_not(name: str) -> None:
    result = run(f"{(NEEDED | NOT_NEEDED)[name]} --no-trust")
    assert result.exit_code == {"verify": 0, "lint": 0}.get(name, 2), result.stderr
    assert not ran()


@pytest.mark.parametrize("name", NOT_NEEDED)
def test_what_needs_no_network_runs_nothing(name: str) -> None:
    assert run(NOT_NEEDED[name]).exit_code in (0, 1)
    assert not ran()


@pytest.mark.parametrize("name", ["explain", "plan", "verify"])
def test_a_manifest_of_the_settings_needs_no_trust(name: str, folder: Path) -> None:
    (folder / "pyproject.toml").write_text(SETTINGS + 'manifest = "m.json"\n')
    net = nn.Sequential(nn.Linear(4, 4))
    (folder / "m.json").write_text(json.dumps(initdsl.describe(net)[0].to_manifest()))
    assert run(NEEDED[name]).exit_code == 0
    assert not ran()
    assert run(f"{NEEDED[name]} --manifest m.json --trust").exit_code == 0
    assert not ran()
    assert run(f"{NEEDED[name]} --trust").exit_code == 0
    assert ran()


def test_what_the_command_line_names_needs_no_trust() -> None:
    assert run("plan rules.init --model net.py:make").exit_code == 0
    assert ran()


@pytest.mark.parametrize("model", ["net.py:make", "net:make"])
def test_a_trusted_model_is_found_from_the_folder_of_the_settings(
    model: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "pyproject.toml").write_text(SETTINGS.replace("net.py:make", model))
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    assert run("plan ../rules.init --trust").exit_code == 0
    assert ran()


@pytest.mark.parametrize("name", NEEDED)
def test_without_a_model_anywhere_trust_adds_nothing(name: str, folder: Path) -> None:
    (folder / "pyproject.toml").unlink()
    for more in ("", " --trust", " --no-trust"):
        result = run(NEEDED[name] + more)
        assert result.exit_code == (0 if name == "verify" else 2)
        assert "trust" not in result.stderr


# what a command says of a rule file in the folder of a team, from above it
FROM_ABOVE = {
    "apply": "apply team/init/rules.init -q",
    "diagnose": "diagnose team/init/rules.init",
    "diff": "diff team/init/rules.init team/init/rules.init",
    "explain": "explain 0.weight team/init/rules.init",
    "lint": "lint team/init/rules.init",
    "lock": "lock team/init/rules.init",
    "plan": "plan team/init/rules.init",
    "verify": "verify team/init/rules.init x.safetensors",
}


@pytest.fixture
def team(folder: Path) -> Path:
    """A folder with settings of its own, below the working folder, which has others or none."""
    (folder / "team/init").mkdir(parents=True)
    for name in ("pyproject.toml", "net.py"):
        (folder / name).rename(folder / "team" / name)
    (folder / "team/init/rules.init").write_text((folder / "rules.init").read_text())
    (folder / "pyproject.toml").write_text('[tool.initdsl]\nmodel = "not_this.py:make"\n')
    return folder / "team"


@pytest.mark.parametrize("model", ["net.py:make", "net:make"])
@pytest.mark.parametrize("name", FROM_ABOVE)
def test_the_settings_are_those_above_the_rule_file(name: str, model: str, team: Path) -> None:
    (team / "pyproject.toml").write_text(SETTINGS.replace("net.py:make", model))
    result = run(f"{FROM_ABOVE[name]} --trust")
    assert result.exit_code in (0, 1), result.stderr
    assert ran()


@pytest.mark.parametrize("name", [name for name in FROM_ABOVE if name != "lint"])
def test_they_name_code_that_runs_only_where_it_is_trusted(name: str, team: Path) -> None:
    result = run(FROM_ABOVE[name])
    assert result.exit_code == 2
    assert f"{team / 'pyproject.toml'}` names the model `net.py:make`" in result.stderr
    assert run(f"{FROM_ABOVE[name]} --no-trust").exit_code == (0 if name == "verify" else 2)
    assert not ran()


@pytest.mark.parametrize("name", ["diff", "explain", "lint", "lock", "plan", "verify"])
def test_their_manifest_needs_no_trust(name: str, team: Path) -> None:
    (team / "pyproject.toml").write_text(SETTINGS + '[tool.initdsl.manifest]\n"init/*.init" = "m.json"\n')
    net = nn.Sequential(nn.Linear(4, 4))
    (team / "m.json").write_text(json.dumps(initdsl.describe(net)[0].to_manifest()))
    result = run(FROM_ABOVE[name])
    assert result.exit_code == 0, result.stderr
    assert not ran()


@pytest.mark.parametrize("name", FROM_ABOVE)
def test_their_initializers_are_imported(name: str, team: Path) -> None:
    (team / "pyproject.toml").write_text(SETTINGS + 'import = ["own.py"]\n')
    (team / "own.py").write_text("open('imported', 'w').close()\n")
    assert run(FROM_ABOVE[name]).exit_code in (0, 2)
    assert not Path("imported").exists()
    run(f"{FROM_ABOVE[name]} --trust")
    assert Path("imported").exists()


@pytest.mark.parametrize("name", FROM_ABOVE)
def test_their_pythonpath_needs_trust(name: str, team: Path) -> None:
    settings = '[tool.initdsl]\nmodel = "far_off:make"\n'
    (team / "src").mkdir()
    (team / "net.py").rename(team / "src" / "far_off.py")
    (team / "pyproject.toml").write_text(settings)
    run(f"{FROM_ABOVE[name]} --trust")
    assert not ran()
    (team / "pyproject.toml").write_text(settings + 'pythonpath = ["src"]\n')
    run(FROM_ABOVE[name])
    assert not ran()
    result = run(f"{FROM_ABOVE[name]} --trust")
    assert result.exit_code in (0, 1), result.stderr
    assert ran()


def test_a_module_in_the_usual_folder_is_said_to_be_there(team: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (team / "src").mkdir()
    (team / "net.py").rename(team / "src" / "far_off.py")
    monkeypatch.chdir(team)
    assert 'set `pythonpath = ["src"]`' in run("plan init/rules.init --model far_off:make").stderr
    assert not ran()


def test_each_side_of_a_diff_has_its_own(team: Path, folder: Path) -> None:
    (folder / "pyproject.toml").write_text('[tool.initdsl]\nmodel = "other.py:make"\n')
    (folder / "other.py").write_text("from torch import nn\nmake = lambda: nn.Sequential(nn.Linear(8, 8))\n")
    result = run("diff rules.init team/init/rules.init --trust")
    assert result.exit_code == 1, result.stderr
    assert ran()


def test_standard_input_and_saved_plans_have_those_of_the_working_folder(team: Path, folder: Path) -> None:
    assert run(f"plan {FROM_ABOVE['plan'].split()[1]} --trust -o team/plan.json").exit_code == 0
    Path("ran").unlink()
    result = run("apply team/plan.json -q --trust")
    assert result.exit_code == 2
    assert "not_this.py" in result.stderr
