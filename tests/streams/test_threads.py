"""Calls that threads share: each is made once, an error is raised when the others have ended, and nobody waits for a thread that has not begun."""

from __future__ import annotations

import _thread
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pytest

from initdsl.streams import threads as streams_threads
from initdsl.streams.threads import spread, team

MANY = 1 << 23  # elements that are worth a thread
TEAMS = pytest.mark.parametrize("together", [nullcontext, team], ids=["alone", "in a team"])
Team = Callable[[], AbstractContextManager[None]]


def both_at_work() -> threading.Barrier:
    """What two threads pass together, so that each has a call at that moment."""
    return threading.Barrier(2, timeout=60)


@TEAMS
def test_each_call_is_made_once_by_this_thread_or_a_helper(together: Team, threads) -> None:
    threads(2)
    barrier, calls = both_at_work(), []

    def call(first: int, end: int) -> None:
        is_early = len(calls) < 2
        calls.append((first, end, threading.get_ident()))
        if is_early:
            barrier.wait()

    with together():
        spread(call, 1000, MANY)
    calls.sort()
    assert len(calls) == 8
    assert [first for first, _, _ in calls] == [0] + [end for _, end, _ in calls[:-1]]
    assert calls[-1][1] == 1000
    assert threading.get_ident() in {who for _, _, who in calls}
    assert len({who for _, _, who in calls}) == 2


@TEAMS
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("failing", ["this thread", "a helper"])
def test_an_error_waits_for_the_calls_of_others(
    failing: str, error: type[BaseException], together: Team, threads
) -> None:
    threads(2)
    barrier, raised, this = both_at_work(), threading.Event(), threading.get_ident()
    begun: list[int] = []
    ended, fails = [], failing == "this thread"

    def call(first: int, end: int) -> None:
        begun.append(first)
        if first >= 250:  # the other may take one more before it is told
            return
        barrier.wait()
        if (threading.get_ident() == this) == fails:
            raised.set()
            raise error
        raised.wait(60)
        time.sleep(0.05)
        ended.append(first)

    with pytest.raises(error), together():
        spread(call, 1000, MANY)
    assert len(ended) == 1
    assert len(begun) < 8


@TEAMS
def test_threads_that_can_not_start(together: Team, threads, monkeypatch: pytest.MonkeyPatch) -> None:
    threads(3)

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    calls: list[int] = []
    with together():
        spread(lambda first, end: calls.extend(range(first, end)), 1000, MANY)
    assert calls == list(range(1000))


def test_a_thread_that_begins_too_late_is_not_waited_for(threads, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it call anything when it begins: the memory may be another's by then."""
    threads(3)
    late: list[tuple[Callable[..., None], tuple[object, ...]]] = []
    monkeypatch.setattr(streams_threads._thread, "start_new_thread", lambda *begun: late.append(begun))
    calls: list[int] = []
    spread(lambda first, end: calls.extend(range(first, end)), 1000, MANY)
    assert calls == list(range(1000))
    assert len(late) == 2
    for function, arguments in late:
        function(*arguments)
    assert len(calls) == 1000
