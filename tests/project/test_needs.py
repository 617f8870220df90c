"""A test that lacks a library is skipped and counted; CI takes no skip for what is installed."""

from __future__ import annotations

import importlib.metadata

import pytest

from tests.support import needs
from tests.support.code import ROOT

pytest_plugins = ["pytester"]

TESTS = """
import pytest

def test_of_a_library_that_is_not_there():
    import nowhere_to_be_found.part

def test_that_says_so():
    pytest.importorskip("nowhere_to_be_found")

@pytest.mark.needs("torch>=99.1")
def test_of_a_newer_torch():
    raise AssertionError

@pytest.mark.needs("torch>=2.4", "pytest")
def test_of_what_is_there():
    assert True

def test_that_fails():
    raise ModuleNotFoundError("No module named 'torch'", name="torch")
"""


def run(pytester: pytest.Pytester, tests: str) -> pytest.RunResult:
    pytester.makeconftest((ROOT / "tests" / "conftest.py").read_text("utf-8"))
    pytester.makeini("[pytest]\nmarkers = needs")
    pytester.makepyfile(tests)
    pytester.syspathinsert(ROOT)
    return pytester.runpytest_inprocess("-p", "no:cacheprovider")


def test_what_lacks_a_library_is_skipped_and_counted(pytester: pytest.Pytester) -> None:
    result = run(pytester, TESTS)
    result.assert_outcomes(passed=1, skipped=3, failed=1)
    result.stdout.fnmatch_lines(["skipped: 2 for nowhere_to_be_found, 1 for torch>=99.1"])


def test_a_file_that_imports_it_at_its_top_is_skipped_too(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_other="import nowhere_to_be_found.part")
    result = run(pytester, "def test_one():\n    pass\n")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["skipped: 1 for nowhere_to_be_found"])
    pytester.makepyfile(test_third="import initdsl.nowhere")
    run(pytester, "").assert_outcomes(errors=1, skipped=1)


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("needs torch>=99.1", 1), ("needs yaml", 1), ("needs node, and `npm install`", 1), ("needs jax", 0),
        ("could not import 'keras.layers': No module named 'keras'", 1), ("could not import 'jax.numpy': why", 0),
        ("module 'transformers' has __version__ '4.1', required is: '5'", 1), ("a matrix needs yaml", 0),
    ],
)  # fmt: skip
def test_ci_takes_no_skip_for_what_it_does_not_lack(
    reason: str, code: int, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INITDSL_LACKS", "mup jax")
    result = run(pytester, f"import pytest\ndef test_one():\n    pytest.skip({reason!r})\n")
    assert result.ret == code


def test_initdsl_itself_must_not_need_it() -> None:
    with pytest.raises(ModuleNotFoundError) as caught:
        exec(compile("import nowhere_to_be_found", str(ROOT / "initdsl" / "api" / "apply.py"), "exec"))
    assert needs.need_of(caught.value) is None


@pytest.mark.parametrize("version", ["2.6", "2.6.0+cu124", "2.16.0.dev20261101+cpu", "3.0a1"])
def test_a_version_is_new_enough(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    assert not needs.lacks("torch>=2.6")
    assert needs.lacks("torch>=4")
