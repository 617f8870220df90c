"""No process of ours finds a module in the working folder, however it is started, unless the command line names one there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import initdsl
from initdsl.text.companions import Companion
from initdsl.text.search_path import OURS, STANDARD_LIBRARY, without_working_folder
from tests.support.code import ROOT
from tests.support.nets import mlp
from tests.support.processes import LONGEST, command

pytest_lsp = pytest.importorskip("pytest_lsp")
from lsprotocol import types as lsp  # noqa: E402

OTHERS = [
    *("annotated_types", "attr", "attrs", "cattrs", "click", "colorama", "google", "lark", "lsprotocol", "markdown_it"),
    *("matplotlib", "mpmath", "networkx", "numba", "numpy", "pip", "pluggy", "pydantic", "pydantic_core", "pygls"),
    *("pygments", "pytest", "re2", "rich", "safetensors", "scipy", "setuptools", "sitecustomize", "sympy", "torch"),
    *("triton", "typing_extensions", "typing_inspection", "usercustomize", "yaml"),
]
NO_TRAPS = {"sys", "builtins"}  # nothing looks for them
TRAPS = sorted({*sys.stdlib_module_names, *OTHERS} - NO_TRAPS)
RULES = "Linear.weight ~ normal(0, 0.02)\nLinear.bias = 0\n"
COMMANDS = {
    "convert": "convert settings.json",
    "explain": "explain 0.weight rules.init --manifest m.json",
    "fmt": "fmt --check .",
    "lint": "lint .",
    "lint --manifest": "lint --manifest m.json .",
    "list": "list initializers",
    "lock": "lock rules.init --manifest m.json",
    "diff": "diff rules.init rules.init --manifest m.json --format html",
    "plan": "plan rules.init --manifest m.json --format html",
    "verify": "verify rules.init x.safetensors --manifest m.json",
}
# what runs the code that the command line names: the folder is searched then, behind what is installed
WITH_MODEL = {
    "apply": "apply rules.init --model net.py:make -q -o out.safetensors",
    "apply of a module": "apply rules.init --model net:make --seed 0 -q -o out.safetensors",
    "diagnose": "diagnose rules.init --model net.py:make -o page.html",
    "infer": "infer --model net.py:make -o out.init",
    "manifest": "manifest --model net.py:make",
}
SCRIPT = "from initdsl.cli import main\nif __name__ == '__main__':\n    main()\n"
AS_C = "from initdsl.cli import main; main()"


def laid_out(tmp_path: Path) -> Path:
    """A folder in which every module that we or Python could import says that it was imported."""
    place = tmp_path / "stranger"
    place.mkdir()
    for name in TRAPS:
        (place / f"{name}.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'a').write('{name} ')\nraise OSError\n")
    (place / "rules.init").write_text(RULES)
    (place / "settings.json").write_text('[[".*bias", {"type": "zero"}], ["w", {"type": "normal", "std": 0.02}]]')
    net = mlp()
    (place / "m.json").write_text(json.dumps(initdsl.describe(net)[0].to_manifest()))
    save_file({name: torch.zeros_like(p) for name, p in net.named_parameters()}, place / "x.safetensors")
    (place / "net.py").write_text("from torch import nn\nmake = lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU())\n")
    (tmp_path / "initdsl-script").write_text(SCRIPT)
    return place


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return laid_out(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return laid_out(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def untouched(shared: Path) -> Iterator[Path]:
    """A folder whose traps nobody removes."""
    yield shared
    (shared.parent / "sprung").unlink(missing_ok=True)


def sprung(folder: Path) -> set[str]:
    file = folder.parent / "sprung"
    return set(file.read_text().split()) if file.exists() else set()


def run(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=kept | environment, capture_output=True, text=True, timeout=LONGEST
    )


def harmless(folder: Path, done: subprocess.CompletedProcess[str]) -> None:
    assert sprung(folder) == set(), done.stderr
    assert done.returncode in (0, 1), done.stdout + done.stderr


def leave_out_what_python_imports(folder: Path, *nothing: str, **environment: str) -> None:
    """Remove the traps that Python springs itself, before a program begins: no program can keep them out."""
    while True:
        run(folder, *nothing, **environment)
        if not sprung(folder):
            return
        for name in sprung(folder):
            (folder / f"{name}.py").unlink()
        (folder.parent / "sprung").unlink()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_module_of_the_folder_runs_in_no_command(name: str, untouched: Path) -> None:
    harmless(untouched, run(untouched, "-c", AS_C, *COMMANDS[name].split()))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "apply" else pytest.mark.long) for name in WITH_MODEL]
)
def test_the_named_model_runs_and_nothing_beside_it(name: str, folder: Path) -> None:
    """Of the folder of the model's file further modules may be meant, but never those of the standard library."""
    for other in OTHERS:
        (folder / f"{other}.py").unlink()
    harmless(folder, run(folder, "-c", AS_C, *WITH_MODEL[name].split()))


def test_a_model_finds_what_lies_beside_it_before_what_is_installed(folder: Path) -> None:
    for trap in TRAPS:
        (folder / f"{trap}.py").unlink()
    (folder / "yaml.py").write_text("width = 4\n")
    (folder / "net.py").write_text("from torch import nn\nimport yaml\nmake = lambda: nn.Linear(yaml.width, 4)\n")
    (folder / "below").mkdir()
    (folder / "below" / "net.py").write_text(
        "import yaml\nfrom torch import nn\nmake = lambda: nn.Linear(yaml.width, 4)\n"
    )
    for model in ("net:make", "below/net.py:make"):
        done = command("plan", "rules.init", "--model", model, cwd=folder)
        assert done.returncode == 0, done.stderr
        assert "2 set (20 elements)" in done.stdout


@pytest.mark.parametrize("model", ["torch.nn:Identity", "elsewhere.py"])
def test_an_installed_model_runs_nothing_of_the_working_folder(model: str, folder: Path) -> None:
    if model == "elsewhere.py":
        text = "from torch import nn\ntry: import only_here\nexcept ImportError: pass\nmake = nn.Identity\n"
        (folder.parent / model).write_text(text)
        model = f"../{model}:make"
    (folder / "only_here.py").write_text(f"open({str(folder.parent / 'sprung')!r}, 'a').write('only_here')\n")
    (folder / "evil-1.dist-info").mkdir()
    (folder / "evil-1.dist-info" / "METADATA").write_text("Name: evil\nVersion: 1\n")
    (folder / "evil-1.dist-info" / "entry_points.txt").write_text("[initdsl.initializers]\nevil = only_here:x\n")
    (folder / "rules.init").write_text("Linear.weight? ~ evil()\n")
    run(folder, "-c", AS_C, "plan", "rules.init", "--model", model)
    assert sprung(folder) == set()


@pytest.mark.parametrize("path", ["", ".", ":/nowhere", "here"])
def test_nor_as_a_script_whatever_the_environment_says(path: str, folder: Path) -> None:
    given = str(folder) if path == "here" else path
    (folder.parent / "nothing.py").write_text("")
    leave_out_what_python_imports(folder, str(folder.parent / "nothing.py"), PYTHONPATH=given)
    harmless(folder, run(folder, str(folder.parent / "initdsl-script"), "lint", ".", PYTHONPATH=given))


def test_nor_as_a_module(folder: Path) -> None:
    (folder / "nothing").mkdir()
    (folder / "nothing" / "__init__.py").write_text("")
    (folder / "nothing" / "__main__.py").write_text("")
    leave_out_what_python_imports(folder, "-m", "nothing")
    harmless(folder, run(folder, "-m", "initdsl", "lint", "."))


@pytest.mark.parametrize(
    ("method", "flags"),
    [
        ("spawn", ()), ("spawn", ("-I",)),
        *(pytest.param("spawn", (flag,), marks=pytest.mark.long) for flag in ("-E", "-P")),
        *(pytest.param(method, (), marks=pytest.mark.long) for method in ("forkserver", "fork")),
    ],
)  # fmt: skip
def test_nor_where_linting_starts_processes(method: str, flags: tuple[str, ...], folder: Path) -> None:
    for number in range(4):
        (folder / f"long{number}.init").write_text(f"# {'x' * 80}\n" * 800)
    (folder.parent / "starts").write_text(
        "import multiprocessing, os, sys\n"
        "if __name__ == '__main__':\n"
        f"    multiprocessing.set_start_method({method!r})\n"
        "    os.cpu_count = lambda: 4\n"
        "    from initdsl.cli import main\n    main()\n"
    )
    harmless(folder, run(folder, *flags, str(folder.parent / "starts"), "lint", "."))


@pytest.mark.parametrize("path", ["", ".", ":"])
def test_nor_in_a_further_process(path: str, untouched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = untouched
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setattr(sys, "path", ["", ".", str(folder), *sys.path])
    companion = Companion("initdsl.server.finder")
    try:
        assert [one.name for one in companion.ask(str(folder / "x.init"), "Linear.weight = = 1\n")]
    finally:
        companion.close()
    assert sprung(folder) == set()


def test_the_package_itself_is_found_where_it_lies_in_the_working_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(sys, "path", [str(ROOT), *(place for place in sys.path if place not in ("", str(ROOT)))])
    companion = Companion("initdsl.server.finder")
    try:
        assert [one.name for one in companion.ask("x.init", "Linear.weight = = 1\n")]
    finally:
        companion.close()


# ---- an editor


@pytest_lsp.fixture(
    config=pytest_lsp.ClientServerConfig(
        server_command=["sh", "-c", f"cd \"$STRANGER\" && exec '{sys.executable}' -c '{AS_C}' lsp"],
        server_env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
    )
)
async def client(lsp_client: pytest_lsp.LanguageClient) -> AsyncIterator[None]:
    await lsp_client.initialize_session(lsp.InitializeParams(capabilities=lsp.ClientCapabilities()))
    yield
    await lsp_client.shutdown_session()


@pytest.fixture(autouse=True)
def _stranger(request: pytest.FixtureRequest) -> None:
    """Tell the server's command where it is to run, before it is started."""
    if "client" in request.fixturenames:
        os.environ["STRANGER"] = str(request.getfixturevalue("folder"))


@pytest.mark.asyncio
async def test_a_module_of_a_folder_runs_in_no_editor(folder: Path, client: Any) -> None:
    uri = (folder / "x.init").as_uri()
    text = 'use "rules.init"\nLinear.weight ~ kaimin_normal()\n'
    client.text_document_did_open(lsp.DidOpenTextDocumentParams(lsp.TextDocumentItem(uri, "initdsl", 1, text)))
    await client.wait_for_notification(lsp.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
    assert [one.code for one in client.diagnostics[uri]] == ["unknown-initializer"]
    place = lsp.TextDocumentIdentifier(uri)
    assert (await client.text_document_completion_async(lsp.CompletionParams(place, lsp.Position(1, 18)))).items
    assert sprung(folder) == set()


# ---- the path itself


def test_what_stays_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    here, other = str(tmp_path), str(tmp_path / "other")
    ways = ["", ".", "lib", here, str(tmp_path / "link"), f"{other}/.."]
    (tmp_path / "other").mkdir()
    assert without_working_folder([*ways, other, STANDARD_LIBRARY, "", "lib", here]) == [
        other,
        STANDARD_LIBRARY,
        here,
        OURS,
    ]
    assert without_working_folder([*ways, other]) == [other, OURS]
    assert without_working_folder([OURS, other]) == [OURS, other]
