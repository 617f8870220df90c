"""Files that appear whole or not at all, whatever happens meanwhile; and files that are read whole or not at all."""

from __future__ import annotations

import os
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["replacing", "write_bytes"]

# bytes handed to the system at a time
PIECE = 1 << 26
# where a system can't write at a place (Windows), threads take turns at the one position that an open file has
_TURN = threading.Lock()


def write_bytes(descriptor: int, data: memoryview | bytes, start: int) -> None:
    """Write all of `data` from `start` on in an open file; the system may take it in several parts. Raises OSError."""
    left = memoryview(data)
    while left:
        done = _write_at(descriptor, left[:PIECE], start)
        left, start = left[done:], start + done


def _write_at(descriptor: int, data: memoryview, start: int) -> int:
    if hasattr(os, "pwrite"):
        return os.pwrite(descriptor, data, start)
    with _TURN:
        os.lseek(descriptor, start, os.SEEK_SET)
        return os.write(descriptor, data)


def read_whole(path: str | os.PathLike[str], limit: int) -> bytes:
    """The bytes of a file of at most `limit`. Raises OSError, for what is no file too: a device or a pipe never ends."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("it is not a file")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(f"it is larger than {limit:,} bytes")
    return data


@contextmanager
def replacing(target: str, temporary: str | None = None) -> Iterator[int]:
    """A descriptor of a new file that takes its place, whole and on the disk, when the block ends without an error.

    Written beside its place, under `temporary` (where nothing may be) if given. Raises OSError; then nothing is left of it.
    """
    folder = os.path.dirname(target)
    if temporary is None:
        descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".initdsl-", suffix=".part")
    else:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        try:
            yield descriptor
            os.fsync(descriptor)
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(temporary, 0o666 & ~mask)
        finally:
            os.close(descriptor)
        os.replace(temporary, target)
        _sync(folder)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def _sync(folder: str) -> None:
    """Put a folder's entries on the disk, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
