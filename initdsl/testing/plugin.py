"""The pytest plugin: the fixture `assert_initialized`, and the marker that gives it its rules."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from initdsl.testing import assert_initialized as check

__all__ = ["assert_initialized", "pytest_configure"]


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, so that pytest does not warn of it."""
    config.addinivalue_line(
        "markers",
        "initdsl(rules, **options): what `assert_initialized(net)` takes: a rule file beside the test, or text",
    )


@pytest.fixture
def assert_initialized(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Give a test `assert_initialized(net, rules)`; with `@pytest.mark.initdsl("net.init")`, `assert_initialized(net)`.

    A marker's path is relative to the file of the test.
    """
    marker = request.node.get_closest_marker("initdsl")
    if marker is None:
        return check
    if len(marker.args) != 1:
        raise pytest.UsageError('the marker `initdsl` takes rules, as in `@pytest.mark.initdsl("net.init")`')
    rules: Any = marker.args[0]
    if isinstance(rules, str) and rules.endswith(".init"):
        rules = Path(request.path).parent / rules
    return partial(check, rules=rules, **marker.kwargs)
