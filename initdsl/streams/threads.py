"""Work shared by threads that stay between fills."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Generic, TypeVar

import numpy as np
import torch

from .buffers import Memory

__all__ = ["LEAST_CHUNK", "SHARE_FROM", "shared", "spread", "spread_jobs", "team", "thread_state"]


# Where memory is short, chunks become smaller, down to this many elements; that much is put by for them, in bytes.
LEAST_CHUNK, _RESERVE = 1 << 10, 1 << 22

# How many elements are worth a thread of their own: of the compiled kernel, which takes 0.15 ms or more for so many, and
# of torch's operations.
_THREAD_FROM = 1 << 19
SHARE_FROM = 1 << 20


class _ThreadState(threading.local):
    """What a thread keeps from one fill to the next: a helper its buffers, others their helpers and a reserve."""

    def __init__(self) -> None:
        self.buffers: Memory = {}
        self.team: ThreadPoolExecutor | None = None
        self.reserve: object = None  # memory to give up when there is no other


thread_state = _ThreadState()


@contextmanager
def team() -> Iterator[None]:
    """Share all fills that this thread makes in the block among the same helper threads, which end with it.

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


class _Queue(Generic[Job]):
    """Jobs that several threads take one by one, until there are no more or the queue is closed."""

    def __init__(self, jobs: Iterator[Job]) -> None:
        self._jobs = jobs
        self._lock = threading.Lock()
        self._closed = False
        self._error: BaseException | None = None

    def __iter__(self) -> Iterator[Job]:
        while True:
            with self._lock:
                if self._closed:
                    return
                try:
                    job = next(self._jobs)
                except StopIteration:
                    return
            yield job

    def close(self, error: BaseException | None = None) -> None:
        """Hand out no more jobs; the first error is kept."""
        with self._lock:
            self._closed = True
            self._error = self._error or error

    def raise_error(self) -> None:
        """Raise the error that was kept, and let go of it: what it holds, buffers among it, would live on with it."""
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error


def shared(jobs: Iterator[Job], worker: Callable[[], Callable[[Job], None]], threads: int) -> None:
    """Do all jobs on some threads; `worker()` gives each its own function. torch uses one thread in each of them.

    Raises the first error, after the other threads have ended their jobs.
    """
    queue = _Queue(jobs)
    inference = torch.is_inference_mode_enabled()

    def loop() -> None:
        try:
            torch.set_num_threads(1)  # of this thread: the others keep theirs
            with torch.inference_mode(inference):
                work = worker()
                for job in queue:
                    work(job)
        except BaseException as error:  # raised in the caller's thread below
            queue.close(error)

    threads_of_torch = torch.get_num_threads()
    with team():
        assert thread_state.team is not None
        started: list[Future[None]] = []
        try:
            for _ in range(threads):
                started.append(thread_state.team.submit(loop))
            wait(started)
        except BaseException:  # an interrupt, or no more threads: let the others end what they are at
            queue.close()  # for what the team has not begun too
            wait(started)
            raise
        finally:
            torch.set_num_threads(threads_of_torch)
    queue.raise_error()


def spread(call: Callable[[int, int], None], count: int, elements: int) -> None:
    """Run `call(first, end)` over `range(count)` on torch's number of threads, see `spread_jobs`."""
    workers = min(torch.get_num_threads(), max(1, elements // _THREAD_FROM), count)
    if workers == 1:
        call(0, count)
        return
    parts = min(count, max(workers, elements // SHARE_FROM))  # small enough that no thread waits long for another
    spread_jobs(call, pairwise(count * part // parts for part in range(parts + 1)), workers)


def spread_jobs(call: Callable[[int, int], None], jobs: Iterator[tuple[int, int]], workers: int) -> None:
    """Run `call(*job)` for all jobs on some threads, of which this is one; each takes the next job, one at a time.

    For calls that let go of Python's lock. No thread is waited for that has not begun: where other programs keep it from
    that, this one does its share. Raises the first error, after the other threads have ended their calls.
    """
    queue = _Queue(jobs)
    at_work = [threading.Lock() for _ in range(workers - 1)]

    def loop() -> None:
        try:
            for job in queue:
                call(*job)
        except BaseException as error:  # raised in the caller's thread below
            queue.close(error)

    def helper(lock: threading.Lock) -> None:
        with lock:
            loop()

    def start(lock: threading.Lock) -> None:
        if thread_state.team is None:
            _thread.start_new_thread(helper, (lock,))  # `threading.Thread` waits until it has begun
        else:
            thread_state.team.submit(helper, lock)

    try:
        with suppress(RuntimeError, MemoryError):  # no more threads: those that are there do all
            for lock in at_work:
                start(lock)
        loop()
    finally:
        queue.close()  # for those that begin later too
        for lock in at_work:
            with lock:
                pass
    queue.raise_error()
