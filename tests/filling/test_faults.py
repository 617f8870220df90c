"""A fault in every line that carries a plan out, one after the other: each time everything is as it was, to the last bit."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

import initdsl
from tests.filling.test_atomicity import RULES, Net
from tests.support.code import PACKAGE
from tests.support.nets import same, snapshot

# the code that runs while tensors are written; what is undone with (`Backup`) runs only once a fault is there
UNDOING = {"transaction.py", "random_state.py"}
WRITES = {str(path) for path in (PACKAGE / "filling").glob("*.py") if path.name not in UNDOING}
WRITES |= {str(PACKAGE / "initializers" / "filling.py")}

Place = tuple[str, int]


class Lines:
    """Traces the lines of one run between the first write and the last step that can fail; raises at one of them."""

    def __init__(self, at: Place | None = None, fault: type[BaseException] = ValueError):
        self.at, self.fault = at, fault
        self.seen: dict[Place, None] = {}
        self.inside = False

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        if event == "call" and code.co_name == "_tie" and not self.inside:
            self.inside = True
        elif event == "call" and code.co_name == "settle_alone":
            self.inside = False
        if not self.inside or code.co_filename not in WRITES:
            return None
        if event == "line":
            place = (code.co_filename, frame.f_lineno)
            self.seen.setdefault(place)
            if place == self.at:
                self.at = None
                self.inside = False
                raise self.fault("a fault")
        return self

    def run(self, net: torch.nn.Module, **options: Any) -> None:
        before = sys.gettrace()
        sys.settrace(self)
        try:
            initdsl.apply(net, RULES, on_init=lambda entry: None, **options)
        finally:
            sys.settrace(before)


def made() -> Net:
    torch.manual_seed(0)
    return Net()


def lines(**options: Any) -> list[Place]:
    initdsl.apply(made(), RULES, **options)  # what is imported or kept by the first run is no line of the others
    traced = Lines()
    traced.run(made(), **options)
    return list(traced.seen)


def check(seed: int | None, fault: type[BaseException], every: int) -> None:
    places = lines(seed=seed)[::every]
    assert len(places) > 10
    net = made()
    before = snapshot(net)
    for place in places:
        with pytest.raises((initdsl.ApplyError, fault)):
            Lines(place, fault).run(net, seed=seed)
        try:
            same(before, snapshot(net))
        except AssertionError as error:
            pytest.fail(f"a {fault.__name__} at {Path(place[0]).name}:{place[1]}: {error}")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [None, 7])
@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt])
def test_a_fault_in_any_line_leaves_all_as_it_was(seed: int | None, fault: type[BaseException]) -> None:
    check(seed, fault, 1)


@pytest.mark.parametrize("seed", [None, 7])
def test_a_fault_in_some_lines_leaves_all_as_it_was(seed: int | None) -> None:
    check(seed, ValueError, 12)
