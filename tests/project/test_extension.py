"""The extension for Visual Studio Code: what it names is there, and what is packed. `INITDSL_VSIX` says where the package is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import initdsl
from tests.support.code import ROOT, script

VSCODE = ROOT / "editors" / "vscode"
PACKAGE: dict[str, Any] = json.loads((VSCODE / "package.json").read_text("utf-8"))
STEPS = [step for one in PACKAGE["contributes"]["walkthroughs"] for step in one["steps"]]
VSIX = os.environ.get("INITDSL_VSIX", "")
needs_package = pytest.mark.skipif(not VSIX, reason="`.ci/editors` packs the extension and sets INITDSL_VSIX")


@pytest.fixture(scope="module")
def logo() -> ModuleType:
    pytest.importorskip("matplotlib")
    return script("docs/logo.py")


@pytest.fixture(scope="module")
def packed() -> zipfile.ZipFile:
    return zipfile.ZipFile(VSIX)


def named_files() -> list[str]:
    """The files that package.json and the pages of the walkthrough name, but for the bundle, which is built."""
    contributes = PACKAGE["contributes"]
    named = [PACKAGE["icon"], *(one["configuration"] for one in contributes["languages"])]
    named += [one["path"] for one in contributes["grammars"]]
    named += [step["media"]["markdown"] for step in STEPS]
    for page in [*(step["media"]["markdown"] for step in STEPS), "README.md"]:
        for place in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (VSCODE / page).read_text("utf-8")):
            named.append(os.path.normpath(Path(page).parent / place))
    return [os.path.normpath(name) for name in named]


def test_what_it_names_is_there() -> None:
    assert [name for name in named_files() if not (VSCODE / name).is_file()] == []
    assert (VSCODE / "LICENSE").read_text("utf-8") == (ROOT / "LICENSE").read_text("utf-8")
    assert PACKAGE["version"] == initdsl.__version__


def test_the_walkthrough_uses_commands_that_are_there() -> None:
    own = {one["command"] for one in PACKAGE["contributes"]["commands"]}
    links = [name for step in STEPS for name in re.findall(r"\(command:([\w.]+)", step["description"])]
    events = [event for step in STEPS for event in step["completionEvents"]]
    used = {*links, *(event.removeprefix("onCommand:") for event in events if event.startswith("onCommand:"))}
    assert {name for name in used if name.startswith("initdsl.")} <= own
    assert set(re.findall(r'registerCommand\("([\w.]+)"', (VSCODE / "extension.js").read_text("utf-8"))) == own
    settings = {event.removeprefix("onSettingChanged:") for event in events if event.startswith("onSettingChanged:")}
    assert settings <= set(PACKAGE["contributes"]["configuration"]["properties"])
    assert 3 <= len(STEPS) <= 4


def test_the_first_rules_are_laid_out_and_clean() -> None:
    file = VSCODE / "walkthrough" / "first.init"
    text = file.read_text("utf-8")
    assert initdsl.lint(file) == []
    assert initdsl.format(text) == text


def test_the_pictures_are_the_logo(logo: ModuleType, tmp_path: Path) -> None:
    from matplotlib import image

    for place, draw in logo.PICTURES.items():
        draw().savefig(tmp_path / place.name, dpi=100, transparent=draw is logo.icon)
        drawn, kept = image.imread(tmp_path / place.name), image.imread(place)
        assert drawn.shape == kept.shape, f"{place}: run `python docs/logo.py`"
        assert np.abs(drawn - kept).mean() < 0.002, f"{place}: run `python docs/logo.py`"


@needs_package
def test_the_package_is_one_program_and_what_is_shown(packed: zipfile.ZipFile) -> None:
    files = {name.removeprefix("extension/") for name in packed.namelist()}
    assert {*named_files(), "dist/extension.js", "dist/LICENSES.txt", "walkthrough/first.init"} <= files
    assert {"readme.md", "changelog.md", "LICENSE.txt"} <= files
    assert [name for name in files if "node_modules" in name] == []
    scripts = [name for name in files if name.endswith((".js", ".mjs", ".ts", ".map"))]
    assert scripts == ["dist/extension.js"]


@needs_package
def test_the_bundle_needs_nothing_but_the_editor(packed: zipfile.ZipFile) -> None:
    bundle = packed.read("extension/dist/extension.js").decode("utf-8")
    node = set(
        subprocess.check_output(
            [shutil.which("node") or "node", "-p", "require('module').builtinModules.join()"], text=True
        )
        .strip()
        .split(",")
    )
    required = set(re.findall(r'\brequire\("([^"]+)"\)', bundle))
    assert "vscode" in required
    assert {name.removeprefix("node:") for name in required} - node == {"vscode"}
    for name in ("vscode-languageclient", "vscode-jsonrpc"):
        assert re.search(rf"^{name} [\d.]+ \(MIT\)$", packed.read("extension/dist/LICENSES.txt").decode(), re.MULTILINE)


def test_the_repository_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert PACKAGE.get("repository", {}).get("url") == project.get("urls", {}).get("Repository")
