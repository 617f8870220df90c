"""Which engines fill, one after the other, and the number of threads, put back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from initdsl.streams import backend, chunks, native


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
