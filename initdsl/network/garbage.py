"""Pausing the garbage collector while many small objects are made."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["MANY", "no_collection"]


# modules from which on the garbage collector is held: it would go through all the lasting values again and again
MANY = 256


class _Collection:
    """How many blocks of all threads hold the garbage collector, and whether it ran before the first of them.

    One state of the process, as the collector is.
    """

    lock = threading.Lock()
    holds = 0
    ran = False


@contextmanager
def no_collection(wanted: bool = True) -> Iterator[Callable[[], None]]:
    """Hold the garbage collector until the block ends: at once if `wanted`, else from a call of what is yielded.

    The last block to end, in whatever thread, sets it as it was when the first one began.
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
                    _count_as_old()
                    gc.enable()


def _count_as_old() -> None:
    """Count all objects as ones that have lasted, which what was made in such a block does.

    Else the collector would look at every one of them as soon as it is back, which takes a third as long as it took to make
    them. Cycles that are garbage go with the next collection of what has lasted. What somebody froze stays frozen.
    """
    if not gc.get_freeze_count():
        gc.freeze()
        gc.unfreeze()
