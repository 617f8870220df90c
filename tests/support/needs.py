"""What tests need beside initdsl's own dependencies: the one place that knows, skips what can't run, and counts it.

A test that imports a library that is not there is skipped, with that library as the reason; so is one that says
`pytest.mark.needs("torch>=2.6")`. CI says what it lacks, `INITDSL_LACKS="jax keras"`; a skip for anything else is an error.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import tomllib
from collections import Counter
from types import TracebackType

from tests.support.code import PACKAGE, ROOT

# libraries whose distribution has another name
DISTRIBUTIONS = {"hydra": "hydra-core", "yaml": "pyyaml"}
REASON = re.compile(
    r"(?:Skipped: )?(?:needs ([\w.]+(?:>=[\w.]+)?)|could not import '(\w+)|module '(\w+)' has __version__)"
)


def lacks(need: str) -> bool:
    """Whether a need, `yaml` or `torch>=2.6`, is not met."""
    name, _, least = need.partition(">=")
    if importlib.util.find_spec(name) is None:
        return True
    return bool(least) and _release(importlib.metadata.version(DISTRIBUTIONS.get(name, name))) < _release(least)


def need_of(error: BaseException | None) -> str | None:
    """Return the library that a test lacks, if that is why it failed and the test itself, not initdsl, asked for it."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return None
    name = error.name.partition(".")[0]
    if name in _required() or importlib.util.find_spec(name) is not None or _of_the_package(error.__traceback__):
        return None
    return name


def needs_of(reasons: list[str]) -> Counter[str]:
    """Count the skips by what they need; other reasons (no such device, another system) are not counted."""
    found = (REASON.match(reason) for reason in reasons)
    return Counter(one[1] or one[2] or one[3] for one in found if one)


def unexpected(needs: Counter[str], lacks: str) -> list[str]:
    """Return the needs that are not among the words of what is lacking."""
    return sorted(set(needs) - set(lacks.split()))


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(re.match(r"\d*", part)[0] or 0) for part in version.split(".")[:2])  # type: ignore[index]


def _name(requirement: str) -> str:
    return re.split(r"[<>=;\[ ]", requirement)[0].lower().replace("_", "-")


def _required() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return {_name(one) for one in [*project["dependencies"], *project["optional-dependencies"]["torch"]]}


def _of_the_package(trace: TracebackType | None) -> bool:
    """Whether the frame that imports, below those of the import system, is initdsl's own."""
    files = []
    while trace is not None:
        files.append(trace.tb_frame.f_code.co_filename)
        trace = trace.tb_next
    return bool(files) and next((file for file in reversed(files) if "importlib" not in file), "").startswith(
        str(PACKAGE)
    )
