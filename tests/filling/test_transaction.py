"""Steps carried out together or not at all, without a plan: what is backed up, put back, agreed on and claimed."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest
import torch

import initdsl
from initdsl.filling.blame import StepFailed
from initdsl.filling.transaction import Backup, Hooks, Step, carry_out, memory_key
from initdsl.text.diagnostic import Diagnostic


class Tensors:
    """Three tensors, and steps that set them, each of which notes when it is backed up and done."""

    def __init__(self) -> None:
        self.tensors = [torch.zeros(2) for _ in range(3)]
        self.events: list[str] = []

    def step(self, number: int, can_fail: bool, do: Callable[[], None] = lambda: None) -> Step:
        def fill() -> None:
            self.events.append(f"fill {number}")
            self.tensors[number].fill_(1.0)
            do()

        def back_up(backup: Backup) -> None:
            self.events.append(f"back up {number}")
            backup.save_values([self.tensors[number]])

        return Step(fill, can_fail, back_up)

    def values(self) -> list[float]:
        return [float(tensor[0]) for tensor in self.tensors]


def fail() -> None:
    raise StepFailed(Diagnostic("fill-failed", "a step failed"), ValueError("a step failed"))


def test_what_can_not_fail_is_not_backed_up() -> None:
    net = Tensors()
    carry_out([net.step(number, False) for number in range(3)], set)
    assert net.events == ["fill 0", "fill 1", "fill 2"]


def test_what_comes_before_a_step_that_can_fail_is_backed_up() -> None:
    net = Tensors()
    carry_out([net.step(0, False), net.step(1, True), net.step(2, False)], set)
    assert net.events == ["back up 0", "back up 1", "fill 0", "fill 1", "fill 2"]
    assert net.values() == [1.0, 1.0, 1.0]


def test_a_step_that_fails_puts_all_back() -> None:
    net = Tensors()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    with pytest.raises(initdsl.ApplyError, match="a step failed") as caught:
        carry_out([net.step(0, False, lambda: torch.rand(1)), net.step(1, True, fail)], set)
    assert isinstance(caught.value.__cause__, ValueError)
    assert net.values() == [0.0, 0.0, 0.0]
    assert torch.equal(torch.get_rng_state(), state)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A job of the background starts with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [0, 1])
def test_an_interrupt_puts_back_what_is_backed_up_and_completes_the_rest(number: int) -> None:
    net = Tensors()
    steps = [net.step(0, True), net.step(1, False), net.step(2, False)]
    steps[number] = net.step(number, number == 0, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        carry_out(steps, set)
    assert net.values() == ([0.0, 0.0, 0.0] if number == 0 else [1.0, 1.0, 1.0])


def test_others_are_asked_before_and_told_once_nothing_can_fail() -> None:
    net = Tensors()

    def begin(last: int) -> int:
        net.events.append(f"begin {last}")
        return 1  # another one's second step can fail

    def settle(failure: BaseException | None) -> None:
        net.events.append(f"settle {failure}")

    carry_out([net.step(0, True), net.step(1, False), net.step(2, False)], set, Hooks(begin, settle))
    assert net.events == ["begin 0", "back up 0", "back up 1", "fill 0", "fill 1", "settle None", "fill 2"]


def test_a_failure_elsewhere_puts_all_back_here() -> None:
    net = Tensors()

    def settle(failure: BaseException | None) -> None:
        if failure is None:
            raise StepFailed(Diagnostic("rank-failed", "rank 1 failed"), RuntimeError("rank 1 failed"))

    with pytest.raises(initdsl.ApplyError, match="rank 1 failed"):
        carry_out([net.step(0, True), net.step(1, False)], set, Hooks(lambda last: last, settle))
    assert net.values() == [0.0, 0.0, 0.0]


def test_memory_is_claimed_until_all_is_done() -> None:
    net = Tensors()

    def claims() -> set[int]:
        return {memory_key(net.tensors[0])}

    again = net.step(1, False)

    def fill_again() -> None:
        with pytest.raises(initdsl.ResolveError, match="is being filled"):
            carry_out([again], claims)
        carry_out([again], lambda: {memory_key(net.tensors[1])})

    carry_out([net.step(0, False, fill_again)], claims)
    carry_out([again], claims)
    assert net.events == ["fill 0", "fill 1", "fill 1"]


def test_what_a_fill_writes_to_is_not_listed_for_a_fill_alone() -> None:
    net = Tensors()
    carry_out([net.step(0, False)], lambda: pytest.fail("nobody asked"))
    assert net.events == ["fill 0"]


def test_a_view_has_the_memory_of_its_tensor() -> None:
    tensor = torch.zeros(4)
    assert memory_key(tensor) == memory_key(tensor[1:]) != memory_key(torch.zeros(4))
