"""`make versions`: what is lowest, and the table that it writes."""

from __future__ import annotations

import importlib.util
import tomllib
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.code import ROOT


@pytest.fixture
def script() -> ModuleType:
    loader = SourceFileLoader("versions", str(ROOT / ".ci" / "versions"))
    spec = importlib.util.spec_from_loader("versions", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_lowest_are_those_of_every_bound(script: ModuleType) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["torch"]]
    lowest = script.lowest()
    assert len(lowest) == len(needed)
    assert "torch==2.4" in lowest
    assert "lark==1.2.1" in lowest


def test_a_row_takes_the_place_of_that_of_its_torch(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "install.md"
    page.write_text(f"Before.\n\n{script.HEADER}| 2.13.0 | 3.11 | the newest | 1 |  |\n\nAfter | that.\n")
    monkeypatch.setattr(script, "PAGE", page)
    for torch, passed in (("2.4.0", 5), ("2.14.1", 6), ("2.13.0", 7)):
        script.write(f"| {torch} | 3.11 | the newest | {passed} | 8 for jax |\n")
    rows = "".join(
        f"| {torch} | 3.11 | the newest | {passed} | 8 for jax |\n"
        for torch, passed in (("2.4.0", 5), ("2.13.0", 7), ("2.14.1", 6))
    )
    assert page.read_text() == f"Before.\n\n{script.HEADER}{rows}\nAfter | that.\n"


def test_the_core_is_there(script: ModuleType) -> None:
    assert all((ROOT / place).exists() for place in script.CORE)


def test_the_page_has_the_table(script: ModuleType) -> None:
    assert script.HEADER in script.PAGE.read_text("utf-8")
