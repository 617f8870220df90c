"""The garbage collector, paused while many small objects are made."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["MANY", "no_collection"]


# from this many modules on, the garbage collector is held: it would look at all the lasting values again and again
MANY = 4096


class _Collection:
    """How many blocks, of all threads, hold the garbage collector, and whether it ran before the first of them."""

    lock = threading.Lock()
    holds = 0
    ran = False


@contextmanager
def no_collection(wanted: bool = True) -> Iterator[Callable[[], None]]:
    """With `wanted`, or once what is yielded is called, hold the garbage collector until the block's end.

    The last block to end, in whatever thread, puts it back as the first one found it.
    """
    held = False

    def hold() -> None:
        nonlocal held
        with _Collection.lock:
            if not held:
                if not _Collection.holds:
                    _Collection.ran = gc.isenabled()
                    gc.disable()
                _Collection.holds += 1
                held = True

    try:
        if wanted:
            hold()
        yield hold
    finally:
        with _Collection.lock:
            if held:
                _Collection.holds -= 1
                if not _Collection.holds and _Collection.ran:
                    gc.enable()
