"""`initdsl diagnose`: exit codes, files, the table in a terminal, plots and pages."""

from __future__ import annotations

import copy
import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn

import initdsl
from initdsl import cli
from tests.support.browser import CHROMIUM, Browser
from tests.support.nets import deep
from tests.support.pages import initdsl_command

# ---- the command line, files and pages

MODEL = """import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(32, 32) for _ in range(20))
    def forward(self, x):
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return x
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(MODEL, "utf-8")
    Path("good.init").write_text("Linear.weight ~ xavier_normal()\nLinear.bias = 0\n", "utf-8")
    Path("bad.init").write_text("Linear.weight ~ normal(0, 0.02)\nLinear.bias = 0\n", "utf-8")
    return tmp_path


def run(*words: str) -> tuple[int, str]:
    return initdsl_command(["diagnose", *words, "--model", "model.py:Net", "--seed", "0"])


def test_limits_make_the_exit_code(folder: Path) -> None:
    code, said = run("good.init", "--max-growth", "30")
    assert code == 0, said
    assert "layers.{0..19} ×20" in said
    code, said = run("bad.init", "--max-growth", "2")
    assert code == 1
    assert re.search(r"^exceeded: growth: activations change by \de-1\d over 20 layers, beyond 2$", said, re.MULTILINE)
    code, said = run("good.init", "--max-update-ratio", "0.001")
    assert code == 1
    assert "exceeded: update ratio: " in said
    assert run("bad.init", "--max-growth", "0.5")[0] == 2
    assert run("nowhere.init")[0] == 2


def test_json_and_files(folder: Path) -> None:
    code, said = run("good.init", "--format", "json", "-o", "d.html", "-o", "d.json", "-o", "d.txt")
    assert code == 0
    found = json.loads(said)
    assert found == json.loads((folder / "d.json").read_text("utf-8"))
    assert (found["format"], found["version"], found["trunk"]["class"]) == ("initdsl-diagnosis", 1, "Linear")
    assert len(found["layers"]) == 41
    code, said = run("good.init", "--against", "bad.init", "--format", "json")
    both = json.loads(said)
    assert "exceeded" not in both
    code, said = run("bad.init", "--format", "json", "--max-growth", "2")
    limited = json.loads(said[: said.rindex("}") + 1])
    assert (code, [text[:6] for text in limited["exceeded"]]) == (1, ["growth", "growth"])
    assert (both["first"]["rules"], both["second"]["rules"]) == ("good.init", "bad.init")
    assert both["first"]["inputs"] == both["second"]["inputs"]
    assert run("good.init", "-o", "d.doc")[0] == 2


def test_samples_and_shapes_on_the_command_line(folder: Path) -> None:
    from safetensors.torch import save_file

    save_file({"x": torch.randn(7, 32)}, "x.safetensors")
    save_file({"anything": torch.randn(7, 32)}, "one.safetensors")
    save_file({"x": torch.randn(7, 32), "y": torch.randn(1)}, "more.safetensors")
    assert "on x=float32 [7, 32]" in run("good.init", "--sample", "x.safetensors")[1]
    assert "on float32 [7, 32]" in run("good.init", "--sample", "one.safetensors")[1]
    code, said = run("good.init", "--sample", "more.safetensors")
    assert code == 2
    assert "the model takes no `y`" in said
    assert "on random float32 [3, 32]" in run("good.init", "--input-shape", "3,32")[1]
    code, said = run("good.init", "--input-shape", "3,31")
    assert code == 2
    assert "in `layers.0` (Linear)" in said
    assert "Traceback" not in said
    for words in (
        ["--input-shape", "3,x"],
        ["--sample", "model.py"],
        ["--sample", "x.safetensors", "--input-shape", "3"],
    ):
        code, said = run("good.init", *words)
        assert code == 2
        assert "Traceback" not in said


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_the_table_in_colours(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(sys, "path", list(sys.path))
    plain = run("bad.init", "--against", "good.init")[1]
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    words = ["diagnose", "bad.init", "--against", "good.init", "--model", "model.py:Net", "--seed", "0"]
    cli.group(words, standalone_mode=False)
    sys.modules.pop("model", None)
    shown = re.sub(r"\x1b\[[\d;]*m", "", screen.getvalue())
    texts = [line for line in plain.splitlines() if line.startswith(("warning: A: ", "warning: B: "))]
    assert texts
    assert all(f"\x1b[33m{text.removeprefix('warning: ')[:20]}" in screen.getvalue() for text in texts)
    assert "\x1b[32mB: " in screen.getvalue()
    squeezed = [
        " ".join(line.removeprefix("warning: ").split())
        for line in plain.splitlines()
        if line.startswith(("warning: ", "A:", "B:"))
    ]
    assert len(squeezed) > 3
    assert all(line in " ".join(shown.split()) for line in squeezed)


def test_no_network_a_page_and_wrong_shapes(folder: Path) -> None:
    code, said = initdsl_command(["diagnose", "good.init"])
    assert code == 2
    assert "`--model` says which model" in said
    for words in ([], ["--against", "bad.init"]):
        code, said = run("good.init", "--format", "html", *words)
        assert code == 0
        assert said.lstrip().lower().startswith("<!doctype html>")
        assert ("bad.init" in said) is bool(words)
    code, said = run("good.init", "--input-shape", "3,0")
    assert code == 2
    assert "`--input-shape 3,0` is no shape" in said
    code, said = run("good.init", "--sample", "nowhere.safetensors")
    assert code == 2
    assert "there is no file `nowhere.safetensors`" in said


def test_plots_without_matplotlib(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(sys, "path", list(sys.path))
    result = CliRunner().invoke(cli.group, ["diagnose", "good.init", "--model", "model.py:Net", "-o", "d.png"])
    sys.modules.pop("model", None)
    assert result.exit_code == 2
    assert "pip install initdsl[plot]" in result.stderr
    assert not Path("d.png").exists()


def test_plots(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    net = deep(5, 16, nn.Tanh)
    one = initdsl.diagnose(net, "Linear.weight ~ xavier_normal(); Linear.bias = 0", seed=0)
    other = initdsl.diagnose(net, "Linear.* = 0", seed=0)
    one.save("one.png")
    one.compare(other).save("both.svg")
    assert Path("one.png").read_bytes().startswith(b"\x89PNG")
    drawn = one.plot()
    assert [axis.get_title() for axis in drawn.axes][:2] == ["std of activations", "std of gradients"]
    assert list(drawn.axes[0].lines[0].get_ydata()) == [layer.std for layer in one.trunk.layers]  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    opened = Browser()
    yield opened
    opened.close()


def test_the_page(browser: Browser, folder: Path) -> None:
    assert run("good.init", "--against", "bad.init", "-o", "d.html")[0] == 0
    page = folder / "d.html"
    for dark, width in ((False, 1280), (True, 1280), (False, 360)):
        browser.open(page, dark=dark, width=width)
        assert browser.errors == []
        assert browser.requests == [page.as_uri()]
        assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("document.querySelectorAll('svg.chart').length") == 4
    assert browser.run("document.querySelectorAll('svg.chart')[0].querySelectorAll('polyline').length") == 2
    assert browser.run("document.querySelectorAll('#layers tbody tr').length") == 20
    browser.press("/")
    browser.type("layers.7")
    assert browser.run("[...document.querySelectorAll('#layers tbody th')].map((c) => c.innerText)") == ["layers.7"]
    assert "gradients shrink" in browser.run("document.querySelector('main').innerText")


def test_notebooks_and_hostile_names(browser: Browser, tmp_path: Path) -> None:
    net = nn.Sequential()
    for i in range(3):
        net.add_module(f"<img src=x onerror=alert({i})>", nn.Linear(4, 4))
    made = initdsl.diagnose(net, "Linear.* ~ normal(0, 1)", seed=0)
    assert "<img" not in made._repr_html_()
    made.save(tmp_path / "h.html")
    browser.open(tmp_path / "h.html")
    assert browser.errors == []
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert copy.copy(made).to_dict() == made.to_dict()


def test_without_a_limit_nothing_is_exceeded(folder: Path) -> None:
    Path("nan.init").write_text("Linear.weight = nan\nLinear.bias = 0\n", "utf-8")
    code, said = run("nan.init")
    assert "not finite" in said
    assert (code, "exceeded" in said) == (0, False)
    code, said = run("nan.init", "--max-dead", "1")
    assert (code, "exceeded: there are values that are not finite" in said) == (1, True)
