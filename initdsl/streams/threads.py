"""Work spread over threads that are kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

__all__ = ["LEAST_CHUNK", "SHARE_FROM", "shared", "spread", "team", "thread_state"]


# Where memory is short, chunks become smaller, down to this; that much is put by for them, in bytes.
LEAST_CHUNK, _RESERVE = 1 << 10, 1 << 22


_THREAD_FROM = 1 << 17


SHARE_FROM = 1 << 20


def spread(call: Callable[[int, int], None], count: int, elements: int) -> None:
    """Run `call(start, stop)` over `range(count)` on torch's number of threads; the kernel holds no lock."""
    workers = min(torch.get_num_threads(), max(1, elements // _THREAD_FROM), count)
    parts = min(count, max(workers, elements // SHARE_FROM))  # small enough that no thread waits long for another
    edges = [count * part // parts for part in range(parts + 1)]
    if workers == 1:
        call(0, count)
    else:
        shared(pairwise(edges), lambda: lambda pair: call(*pair), workers)


class _Mine(threading.local):
    """What a thread keeps from one fill to the next: a helper its buffers, others their helpers and a reserve."""

    def __init__(self) -> None:
        self.buffers: dict[tuple[str, torch.dtype], Tensor] = {}
        self.team: ThreadPoolExecutor | None = None
        self.reserve: Any = None


thread_state = _Mine()


@contextmanager
def team() -> Iterator[None]:
    """All fills that this thread makes in the block are shared by the same helper threads, which end with it.

    Some memory is put by first, so that a fill can go on where there is no more.
    """
    if thread_state.team is not None:
        yield
        return
    with suppress(MemoryError):
        thread_state.reserve = np.empty(_RESERVE, np.uint8)
    with ThreadPoolExecutor(torch.get_num_threads()) as thread_state.team:
        try:
            yield
        finally:
            thread_state.team = thread_state.reserve = None


Job = TypeVar("Job")


def shared(jobs: Iterator[Job], worker: Callable[[], Callable[[Job], None]], threads: int) -> None:
    """Do all jobs on some threads; `worker()` gives each its own function. torch uses one thread in each of them.

    Raises the first error, after the other threads have ended their jobs.
    """
    lock = threading.Lock()
    over = False
    first: BaseException | None = None

    def take() -> Any:
        with lock:
            return _END if over else next(jobs, _END)

    inference = torch.is_inference_mode_enabled()

    def loop() -> None:
        nonlocal first, over
        try:
            torch.set_num_threads(1)  # of this thread: the others keep theirs
            with torch.inference_mode(inference):
                work = worker()
                while (job := take()) is not _END:
                    work(job)
        except BaseException as error:  # handed to the caller's thread below
            with lock:
                over = True
                first = first or error

    before = torch.get_num_threads()
    with team():
        assert thread_state.team is not None
        started: list[Future[None]] = []
        try:
            for _ in range(threads):
                started.append(thread_state.team.submit(loop))
            wait(started)
        except BaseException:  # an interrupt, or no more threads: let the others end what they are at
            over = True  # for what the team has not begun too
            wait(started)
            raise
        finally:
            torch.set_num_threads(before)
    if first is not None:
        error, first = first, None  # or what it holds, buffers among it, would wait for the collector
        try:
            raise error
        finally:
            del error


_END = object()
