"""What pyproject.toml says of the package, against what the package is."""

from __future__ import annotations

import re
import sys
import tomllib

import pytest

import initdsl
from tests.support.code import ROOT, imports

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
# the name that one imports, where it is another one
IMPORTED = {"google-re2": "re2"}


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=;\[ ]", one)[0] for one in requirements}


def test_the_version_is_the_packages() -> None:
    assert PROJECT["version"] == initdsl.__version__


def test_files_alone_need_no_torch() -> None:
    assert not {"torch", "numpy", "safetensors"} & names(PROJECT["dependencies"])
    assert names(EXTRAS["torch"]) == {"torch", "numpy", "safetensors"}


def test_what_is_required_is_imported() -> None:
    used = {one.imported for one in imports()}
    for name in names(PROJECT["dependencies"]) | names(EXTRAS["torch"]):
        assert IMPORTED.get(name, name) in used


def test_what_is_imported_is_required_or_an_extra() -> None:
    """Libraries that others bring along (integrations, plots, the server) are in an extra of their own."""
    ours = {*sys.stdlib_module_names, "initdsl", "yaml", "pytest", "_pytest", "lsprotocol", "pygments"}
    every = {name for extra in EXTRAS.values() for name in names(extra)} | names(PROJECT["dependencies"])
    known = {IMPORTED.get(name, name).replace("-", "_") for name in every} | ours
    unknown = {one.imported for one in imports() if "." not in one.imported} - known
    assert unknown <= {"hydra", "IPython", "huggingface_hub", "pytorch_lightning"}, unknown


def test_every_python_that_is_allowed_is_named() -> None:
    least = int(PROJECT["requires-python"].removeprefix(">=3."))
    named = [one.removeprefix("Programming Language :: Python :: 3.") for one in PROJECT["classifiers"]]
    minors = sorted(int(one) for one in named if one.isdigit())
    assert minors == list(range(least, 15))


@pytest.mark.parametrize("classifier", ["Framework :: Pytest", "Typing :: Typed"])
def test_what_it_is_can_be_found(classifier: str) -> None:
    assert classifier in PROJECT["classifiers"]
    assert {"pytorch", "initialization"} <= set(PROJECT["keywords"])
    assert PROJECT["authors"]


def test_what_is_overridden_inside_has_a_bound_above() -> None:
    for requirement in [*EXTRAS["lsp"], *PROJECT["dependencies"]]:
        if requirement.startswith(("pygls", "lark")):
            assert "<" in requirement
