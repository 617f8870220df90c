"""Whether an error says that there is no memory: Python, numpy, and torch on each of its devices say it differently."""

from __future__ import annotations

__all__ = ["error_text", "first_line", "header_error", "out_of_memory", "reason"]


# torch's allocator of the CPU (on Linux and macOS, on Windows), MPS's, and a thread that finds no room for its stack
SAID = ("can't allocate memory", "not enough memory", "out of memory", "can't start new thread")


def out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(s in str(error) for s in SAID))


def header_error(error: BaseException) -> str:
    line = (str(error).splitlines() or [type(error).__name__])[0].removeprefix("Error while deserializing header: ")
    return line[:1].lower() + line[1:300]


def error_text(error: BaseException) -> str:
    """The first line of somebody's message; the error itself is the cause."""
    line = (str(error).splitlines() or [""])[0]
    return line if len(line) <= 300 else f"{line[:297]}..."


def first_line(error: BaseException) -> str:
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return line if len(line) <= 200 else f"{line[:197]}..."


def reason(error: OSError) -> str:
    """What went wrong, without the number and the file's name that stand in Python's own text."""
    return error.strerror.lower() if error.strerror else str(error)
