"""Which engines fill, one after the other, and the number of threads, put back."""

from __future__ import annotations

import pytest

from initdsl.streams import backend, chunks


def kernels() -> list[object]:
    have = backend.importlib.util.find_spec("numba") is not None
    return ["torch", pytest.param("numba", marks=() if have else pytest.mark.skip(reason="numba is not installed"))]


@pytest.fixture(params=kernels())
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("INITDSL_KERNEL", request.param)
    monkeypatch.setattr(chunks, "_SMALL", 1)
    return str(request.param)
