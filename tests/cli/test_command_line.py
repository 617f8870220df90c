"""The command line around its commands: help, names mistyped, `--model`, `list`, the forms and exit codes of `plan`."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from initdsl import cli
from initdsl.cli import COMMANDS, console
from initdsl.initializers import default_registry
from initdsl.language.rules.loader import packaged_recipes
from initdsl.linter import all_lints
from initdsl.server.findings import findings
from initdsl.server.known import known_at

MODEL = """
import torch
from torch import nn

class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.Linear(3, 4)
        self.norm = nn.LayerNorm(4)

class Holder:
    made = Small()
    class Inner:
        build = staticmethod(Small)

number = 3
def raises(): raise ValueError("mine")
def seven(): return 7
def sized(width, depth, bias=True): return Small()
"""
COVERED = "Linear.weight ~ normal(0, std)\n*.bias = 0\nLayerNorm.weight = 1\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "small_net.py").write_text(MODEL)
    (tmp_path / "rules.init").write_text("let std = 0.02\n" + COVERED)
    (tmp_path / "part.init").write_text("Linear.weight = 0\nConv2d.weight = 0\n")
    yield tmp_path
    for name in ("small_net", "broken", "leaves", "wants", "unnamed"):
        sys.modules.pop(name, None)


def run(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(cli.group, list(words))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def plan(*words: str, rules: str = "rules.init", model: str = "small_net.py:Small", code: int = 0) -> Result:
    return run("plan", rules, "--model", model, *words, code=code)


# ---- the program


def test_help_lists_every_command_and_what_it_does() -> None:
    lines = [line.strip() for line in run("--help").stdout.split("Commands:")[1].splitlines()]
    assert [line.split()[0] for line in lines if line.split()[:1] and line.split()[0] in COMMANDS] == sorted(COMMANDS)
    assert run("-h").stdout == run("--help").stdout


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help(name: str) -> None:
    said = run(name, "--help").stdout
    assert f" {name} [OPTIONS]" in said
    assert "--help" in said


@pytest.mark.parametrize(("typed", "meant"), [("lnt", "lint"), ("plna", "plan"), ("aply", "apply"), ("fnt", "fmt")])
def test_a_mistyped_command(typed: str, meant: str) -> None:
    assert f"no command is named `{typed}`; did you mean `{meant}`?" in run(typed, code=2).stderr


def test_explain_takes_the_name_first(folder: Path) -> None:
    said = run("explain", "rules.init", "up.weight", "--model", "small_net.py:Small", code=2).stderr
    assert "the name of the parameter comes first" in said
    assert "write `initdsl explain up.weight rules.init`" in said


def test_explain_takes_what_a_shell_makes_of_braces(folder: Path) -> None:
    (folder / "stack.py").write_text(
        "from torch import nn\nnet = nn.Sequential(*[nn.Linear(4, 4) for _ in range(3)])\n"
    )
    (folder / "stack.init").write_text("Linear.weight ~ normal(0, 1)\n")
    model = ("stack.init", "--model", "stack.py:net")
    quoted = run("explain", "{0..2}.weight", *model).stdout
    assert "`1.weight`, `2.weight`" in quoted
    assert run("explain", "0.weight", "1.weight", "2.weight", *model).stdout == quoted
    assert "write quotes around" in run("explain", "0.weight", "1.weight", *model, code=2).stderr


def test_a_command_like_none() -> None:
    said = run("zzzzzz", code=2).stderr
    assert "zzzzzz" in said
    assert "did you mean" not in said


@pytest.mark.parametrize(("words", "code"), [(["list", "lints"], 0), (["list", "lnts"], 2), (["--version"], 0)])
def test_main_exits(words: list[str], code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["initdsl", *words])
    monkeypatch.setattr("gc.set_threshold", lambda *numbers: None)
    monkeypatch.setattr("atexit.register", lambda function: function)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == code


# ---- list

NAMES = {
    "initializers": lambda: list(default_registry()),
    "recipes": lambda: [f"initdsl:{name}" for name in packaged_recipes()],
    "lints": lambda: [lint.name for lint in all_lints().values()],
}


@pytest.mark.parametrize("kind", NAMES)
def test_list(kind: str) -> None:
    told = json.loads(run("list", kind, "--format", "json").stdout)
    assert (told["format"], told["version"]) == (f"initdsl-{kind}", 1)
    assert [row["name"] for row in told[kind]] == NAMES[kind]()
    assert all(row["summary"] for row in told[kind])
    words = "".join(run("list", kind).stdout.split())
    assert words == "".join("".join((row.get("signature", row["name"]) + row["summary"]).split()) for row in told[kind])


@pytest.mark.parametrize("width", [80, 100, 240])
@pytest.mark.parametrize("kind", NAMES)
def test_a_list_fits_the_terminal(kind: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert max(map(len, run("list", kind).stdout.splitlines())) <= min(width, 100)


def test_list_tells_arguments() -> None:
    rows = {
        row["name"]: row for row in json.loads(run("list", "initializers", "--format", "json").stdout)["initializers"]
    }
    assert [argument["name"] for argument in rows["normal"]["arguments"]][:2] == ["mean", "std"]
    assert rows["normal"]["draws"]
    assert not rows["zeros"]["draws"]


# ---- --model


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("small_net", "`small_net` names no model"),
        ("small_net", "`small_net:Small`, `small_net:raises`, `small_net:seven`, `small_net:sized`"),
        ("small_net.py", "say which of it: `small_net.py:Small`"),
        ("small_net.Small", "write `small_net:Small`"),
        ("small_net.Smal", "write `package.module:attribute`"),
        ("nowhere", "write `package.module:attribute`"),
        ("wants.py:Small", "`wants.py` imports `nothing_of_that_name`, and no module is named so"),
        ("unnamed.py:Small", "importing `unnamed.py` raised ModuleNotFoundError: gone"),
        ("small_net.py:sized", "`small_net.py:sized` needs `width`, `depth`"),
        ("small_net.py:sized", '`--model "small_net.py:sized(width=..., depth=...)"`'),
        ("small_net.py:sized(width=2)", "`small_net.py:sized(width=2)` needs `depth`"),
        ("small_net.py:sized(with=2)", "may have plain values by name alone"),
        ("small_net.py:sized(height=2)", "`small_net.py:sized(height=2)` "),
        (":Small", "`:Small` names no model"),
        ("small_net.py:", "`small_net.py:` names no model"),
        ("absent.py:Small", "there is no file `absent.py`"),
        ("./absent:Small", "there is no file `./absent`"),
        ("part.init/x:Small", "there is no file `part.init/x`"),
        ("./part.init:Small", "`./part.init` is not a Python file"),
        ("no_such_module:Small", "no module is named `no_such_module`"),
        ("small_net.py:Smal", "did you mean `Small`"),
        ("small_net.py:Holder.Iner", "did you mean `Inner`"),
        ("small_net.py:number", "`small_net.py:number` is int, neither an nn.Module nor a callable"),
        ("small_net.py:raises", "`small_net.py:raises` raised ValueError: mine"),
        ("small_net.py:seven", "`small_net.py:seven` returned int, not an nn.Module"),
        ("broken.py:Small", "importing `broken.py` raised ZeroDivisionError"),
        ("leaves.py:Small", "importing `leaves.py` raised SystemExit: 0"),
    ],
)
def test_a_model_that_is_none(model: str, said: str, folder: Path) -> None:
    (folder / "broken.py").write_text("1 / 0\n")
    (folder / "leaves.py").write_text("import sys\nsys.exit(0)\n")
    (folder / "wants.py").write_text("import nothing_of_that_name.below\n")
    (folder / "unnamed.py").write_text("raise ModuleNotFoundError('gone')\n")
    result = plan(model=model, code=2)
    assert result.stderr.startswith("error[usage]: ")
    assert said in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("place", ["small_net", "small_net.py", "./small_net.py"])
@pytest.mark.parametrize("attribute", ["Small", "Holder.made", "Holder.Inner.build"])
def test_a_model_is_found(place: str, attribute: str, folder: Path) -> None:
    entries = json.loads(plan("--format", "json", model=f"{place}:{attribute}").stdout)["entries"]
    assert {entry["name"] for entry in entries} == {"up.weight", "up.bias", "norm.weight", "norm.bias"}


@pytest.mark.parametrize("place", ["sized", "sized.py"])
def test_a_model_takes_plain_values_by_name(place: str, folder: Path) -> None:
    (folder / "sized.py").write_text(
        "from torch import nn\n"
        "def net(width, name='a', sizes=(), bias=True): return nn.Sequential(nn.Linear(width, width * len(sizes) or 1, bias))\n"
        "made = net(2)\n"
    )
    spec = f"{place}:net(width=6, name='b:(c)', sizes=[1, -2], bias=False)"
    (entry,) = json.loads(plan("--format", "json", model=spec).stdout)["entries"]
    assert entry["shape"] == [12, 6]
    for refused in (
        "6",
        "width=2*3",
        "width=open('x')",
        "**{'width': 6}, width=len",
        "width=6)(",
        "width=",
        "width=6, *[1]",
    ):
        said = plan(model=f"{place}:net({refused})", code=2).stderr
        assert f"may have plain values by name alone, as in `{place}:net(width=6)`" in said
        assert f"write a function that returns the model and name it without brackets, as in `{place}:build`" in said
    assert "raised TypeError" in plan(model=f"{place}:net(wdth=6)", code=2).stderr
    assert "takes no arguments" in plan(model=f"{place}:made(width=6)", code=2).stderr


@pytest.mark.parametrize(
    "command", ["plan {}", "apply {}", "explain up.weight {}", "verify {} x.safetensors --no-trust"]
)
def test_rules_come_from_standard_input_and_pipes(command: str, folder: Path) -> None:
    rules = "Linear.weight = 1\nLinear.bias = 0\nLayerNorm.weight = 1\nLayerNorm.bias = 0\n"

    def said(path: str, stdin: str = "") -> tuple[int, str]:
        words = [*command.format(path).split(), "--model", "small_net.py:Small"]
        result = CliRunner().invoke(cli.group, words, input=stdin)
        return result.exit_code, result.output

    (folder / "same.init").write_text(rules)
    assert run("apply", "same.init", "--model", "small_net.py:Small", "-o", "x.safetensors").exit_code == 0
    code, expected = said("same.init")
    assert code in (0, 1)
    assert said("-", rules)[0] == code
    assert said("-", rules)[1].split() == expected.replace("same.init", "<stdin>").split()
    os.mkfifo(folder / "pipe")
    writer = threading.Thread(target=lambda: (folder / "pipe").write_text(rules))
    writer.start()
    got = said("pipe")
    writer.join()
    assert got[0] == code
    assert got[1].split() == expected.replace("same.init", "<pipe>").split()
    assert "error[" in said("-", "Linear.weight = =\n")[1]


def test_one_network_is_asked_for(folder: Path) -> None:
    assert "one of `--model` and `--manifest` says which model" in run("plan", "rules.init", code=2).stderr
    assert "one of `--model` and `--manifest`" in plan("--manifest", "a.json", code=2).stderr


@pytest.mark.parametrize("text", [None, "", "{", "[]", "[" * 100_000])
def test_a_manifest_that_is_none(text: str | None, folder: Path) -> None:
    if text is not None:
        (folder / "net.json").write_text(text)
    assert "can't read the manifest `net.json`: " in run("plan", "rules.init", "--manifest", "net.json", code=2).stderr


# ---- plan


def test_forms_of_a_plan(folder: Path) -> None:
    assert "up.weight" in plan().stdout
    assert "up.weight" in plan("--all").stdout
    told = json.loads(plan("--format", "json").stdout)
    page = plan("--format", "html").stdout
    assert page.lstrip().lower().startswith("<!doctype html>")
    for ending in ("json", "html", "txt"):
        assert plan("-o", f"out.{ending}").stdout == ""
    assert json.loads((folder / "out.json").read_text()) == told
    assert (folder / "out.html").read_text() == page
    assert "up.weight" in (folder / "out.txt").read_text()
    assert "error[usage]" in plan("-o", "out.xyz", code=2).stderr
    assert "error[usage]" in plan("-o", "absent/out.json", code=2).stderr


def test_exit_codes_of_a_plan(folder: Path) -> None:
    plan("--detailed-exitcode")
    plan(rules="part.init")
    plan("--detailed-exitcode", rules="part.init", code=1)
    plan("--strict")
    assert "uncovered" in plan("--strict", rules="part.init", code=2).stderr
    assert "there is no file `absent.init`" in plan(rules="absent.init", code=2).stderr
    assert "error[" in plan(rules=".", code=2).stderr


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", "1"),
        ("0.5", "0.5"),
        ("1e-3", "0.001"),
        ("true", "1"),
        (" 2 ", "2"),
        ("1/64", "0.015625"),
        ("2**-4", "0.0625"),
        ("1 / sqrt(4 * 16)", "0.125"),
    ],
)
def test_set(text: str, value: str, folder: Path) -> None:
    (folder / "set.init").write_text("let c = 9\n*.* = c\n")
    entries = json.loads(plan("--format", "json", "--set", f"c={text}", rules="set.init").stdout)["entries"]
    assert value in json.dumps(entries[0])


@pytest.mark.parametrize("text", ["fan_out", '"fan_out"'])
def test_set_a_word(text: str, folder: Path) -> None:
    (folder / "set.init").write_text('let how = "fan_in"\nLinear.weight ~ kaiming_normal(mode=how)\n')
    entries = json.loads(plan("--format", "json", "--set", f"how={text}", rules="set.init").stdout)["entries"]
    # sqrt(2 / 4) and sqrt(2 / 3), of a weight of 4 x 3
    assert "0.70710" in json.dumps(entries[0])
    assert "0.8164" in json.dumps(json.loads(plan("--format", "json", rules="set.init").stdout)["entries"][0])


@pytest.mark.parametrize("setting", ["std", "=1", "1a=2", "a b=2"])
def test_set_that_is_none(setting: str, folder: Path) -> None:
    assert f"`--set {setting}` is not `name=value`" in plan("--set", setting, code=2).stderr


def test_what_is_wrong_in_a_set_is_said_of_it(folder: Path) -> None:
    assert "`--set std=1/0`: division by zero" in plan("--set", "std=1/0", code=2).stderr
    assert "must be a number" in plan("--set", "std=1/x", code=2).stderr


def test_set_of_a_text_where_a_number_is_wanted(folder: Path) -> None:
    said = plan("--set", "std=abc", code=2).stderr
    assert '`std` was given as the text "abc": give a number, or on the command line an expression' in said
    assert "`--set std=1/64`" in said
    (folder / "act.init").write_text('let act = "relu"\n*.weight ~ kaiming_normal(nonlinearity=act)\n')
    assert "was given as" not in plan("--set", "act=abc", rules="act.init", code=2).stderr  # a word is wanted


def test_set_of_a_name_mistyped(folder: Path) -> None:
    assert "`std`" in plan("--set", "sdt=1", code=2).stderr


def test_what_is_wrong_in_a_used_file_is_found_at_its_use(folder: Path) -> None:
    (folder / "base.init").write_text("Linear.weight ~ \n")
    found = findings("main.init", 'use "base.init"\nLinear.bias = 0\n', known_at("main.init"))
    assert [one.severity for one in found] == ["error"]
    assert found[0].source is not None
    assert found[0].source.name == "main.init"
    assert "base.init:1:" in found[0].message
    (folder / "base.init").write_text("Linear.weight ~ normal(0, 1)\n")
    assert findings("main.init", 'use "base.init"\nLinear.bias = 0\n', known_at("main.init")) == []


# ---- colour


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("name", "value"), [(None, ""), ("NO_COLOR", ""), ("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colour_is_for_terminals(name: str | None, value: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    if name is not None:
        monkeypatch.setenv(name, value)
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    words = ["plan", "part.init", "--model", "small_net.py:Small"]
    cli.group(words, standalone_mode=False)
    assert "up.weight" in screen.getvalue()
    assert ("\x1b[" in screen.getvalue()) == (name is None)
    assert not console.coloured(io.StringIO())


def test_the_program_as_a_module(folder: Path) -> None:
    words = ["plan", "rules.init", "--model", "small_net:Small"]
    done = subprocess.run([sys.executable, "-m", "initdsl", *words], capture_output=True, text=True, check=False)
    assert done.stdout == run(*words).output
    assert done.returncode == 0


def test_planning_does_not_load_torchs_compiler(folder: Path) -> None:
    program = (
        "import sys; from initdsl.cli import group\n"
        "try: group(['plan', 'rules.init', '--model', 'small_net:Small'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
