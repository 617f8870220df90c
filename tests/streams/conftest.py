"""Which engines fill, one after the other, and what a program in C says of the kernel with sanitizers and without."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import hatch_build
from initdsl.streams import backend, chunks, native
from tests.support.processes import LONGEST


def kernels() -> list[object]:
    have = isinstance(backend._loaded(), native.Kernel)
    return ["torch", pytest.param("native", marks=() if have else pytest.mark.skip(reason="no kernel was compiled"))]


def choose(monkeypatch: pytest.MonkeyPatch, choice: str | None) -> None:
    """Set INITDSL_KERNEL for the test, or take it away."""
    if choice is None:
        monkeypatch.delenv("INITDSL_KERNEL", raising=False)
    else:
        monkeypatch.setenv("INITDSL_KERNEL", choice)
    backend._choice.cache_clear()


@pytest.fixture(autouse=True)
def chosen_anew() -> Iterator[None]:
    """Let no test go by what another one chose."""
    backend._choice.cache_clear()
    yield
    backend._choice.cache_clear()


@pytest.fixture(params=kernels())
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    choose(monkeypatch, request.param)
    monkeypatch.setattr(chunks, "_SMALL", 1)
    return str(request.param)


def said_by(driver: str, folder: Path) -> list[str]:
    """Compile and run a program in C that includes a file of the kernel: as it is, and with sanitizers for address and undefined behaviour."""
    compiler = hatch_build.command([folder], folder)
    if compiler is None or sys.platform == "win32":
        pytest.skip("no C compiler with sanitizers")
    (folder / "driver.c").write_text(driver)
    said = []
    for flags in ([], ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g"]):
        words = [compiler[0], *hatch_build.UNIX, *flags, "-I", native.FOLDER, "driver.c", "-o", "driver", "-lm"]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
        if done.returncode and flags and "cannot find" in done.stderr:
            pytest.skip("the compiler has no sanitizers here")
        assert done.returncode == 0, done.stderr
        run = subprocess.run(["./driver"], cwd=folder, capture_output=True, text=True, timeout=LONGEST)
        assert run.returncode == 0, run.stderr
        said.append(run.stdout)
    return said
