"""What an error of Python, of torch or of somebody's own code says, in a line; and whether it says that memory is short."""

from __future__ import annotations

import os
import traceback

__all__ = ["TORCH", "ending", "first_line", "internal", "lacks_torch", "out_of_memory", "reason"]

# what brings the libraries that a model needs; files alone need none of them
TORCH = "pip install 'initdsl[torch]'"
LIBRARIES = ("torch", "numpy", "safetensors")


# what a RuntimeError says: torch's allocator on the CPU (Linux and macOS, Windows) and on MPS, and a
# thread that has no room for its stack
SHORT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "can't start new thread")


# characters of somebody else's message that ours quotes
LONGEST = 300


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that there is no memory: Python, numpy and each of torch's devices say it differently."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in SHORT_OF_MEMORY)


def lacks_torch(error: BaseException) -> str | None:
    """Return the library of the extra `torch` whose import failed because it is not installed, None for any other error."""
    name = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    return name if name in LIBRARIES else None


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, cut to a readable length; its type where it has no message."""
    line = (str(error).splitlines() or [""])[0].strip() or type(error).__name__
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."


def internal(error: BaseException) -> str:
    """Return the one line that is said of an error nobody has foreseen: what it is, and where it came up."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}: {first_line(error)}"


def ending(error: BaseException, prefix: str = "") -> str:
    """Return the first line of an error as the end of a sentence: in lower case, and without `prefix`."""
    line = first_line(error).removeprefix(prefix)
    return line[:1].lower() + line[1:]


def reason(error: OSError) -> str:
    """Return what went wrong, without the number and the file's name that stand in Python's own text."""
    return error.strerror.lower() if error.strerror else str(error)
