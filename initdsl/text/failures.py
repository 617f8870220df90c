"""Whether an error says that there is no memory: Python, numpy, and torch on each of its devices say it differently."""

from __future__ import annotations

__all__ = ["out_of_memory"]


# torch's allocator of the CPU (on Linux and macOS, on Windows), MPS's, and a thread that finds no room for its stack
SAID = ("can't allocate memory", "not enough memory", "out of memory", "can't start new thread")


def out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(s in str(error) for s in SAID))
