"""Which engines fill, one after the other, and the number of threads, put back."""

from __future__ import annotations

import pytest

from initdsl.streams import backend, chunks, native


def kernels() -> list[object]:
    have = isinstance(backend._loaded(), native.Kernel)
    return ["torch", pytest.param("native", marks=() if have else pytest.mark.skip(reason="no kernel was compiled"))]


@pytest.fixture(params=kernels())
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("INITDSL_KERNEL", request.param)
    monkeypatch.setattr(chunks, "_SMALL", 1)
    return str(request.param)
