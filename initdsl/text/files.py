"""Files that appear whole or not at all, whatever happens meanwhile; and files that are read whole or not at all."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import IO

from .failures import reason
from .parts import new_part

__all__ = [
    "Stamp",
    "open_file",
    "read_beginning",
    "read_whole",
    "reading",
    "replacing",
    "stamp",
    "write_bytes",
    "write_whole",
    "writing",
]


# bytes handed to the system at a time
PIECE = 1 << 26


# where a system can't write at a place (Windows), threads take turns at the one position that an open file has
_TURN = threading.Lock()


def write_bytes(descriptor: int, data: memoryview | bytes, start: int) -> None:
    """Write all of `data` from `start` on in an open file; the system may take it in several parts. Raises OSError."""
    rest = memoryview(data)
    while rest:
        written = _write_at(descriptor, rest[:PIECE], start)
        rest, start = rest[written:], start + written


def _write_at(descriptor: int, data: memoryview, start: int) -> int:
    if hasattr(os, "pwrite"):
        return os.pwrite(descriptor, data, start)
    with _TURN:
        os.lseek(descriptor, start, os.SEEK_SET)
        return os.write(descriptor, data)


def read_whole(path: str | os.PathLike[str], limit: int) -> bytes:
    """Return the bytes of a file of at most `limit`. Raises OSError."""
    data = read_beginning(path, limit + 1)
    if len(data) > limit:
        raise OSError(f"it is larger than {limit:,} bytes")
    return data


def read_beginning(path: str | os.PathLike[str], count: int) -> bytes:
    """Return the first `count` bytes of a file. Raises OSError, for what is no file of a disk too."""
    with open_file(path) as file:
        return file.read(count)


def open_file(path: str | os.PathLike[str], buffering: int = -1) -> IO[bytes]:
    """Open a file to be read. Raises OSError for what is none: a device or a pipe never ends, /proc tells secrets."""
    _refuse_special(os.stat(path))  # before it is opened, which a device may notice
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        _refuse_special(os.fstat(descriptor))
        return os.fdopen(descriptor, "rb", buffering)
    except BaseException:
        os.close(descriptor)
        raise


def _refuse_special(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode) or status.st_dev in _file_systems_of_the_kernel():
        raise OSError("it is not a file")


@cache
def _file_systems_of_the_kernel() -> frozenset[int]:
    """Return the devices of /proc and /sys, whose files the system makes up when they are read."""
    devices = set()
    for place in ("/proc", "/sys"):
        with suppress(OSError):
            devices.add(os.stat(place).st_dev)
    return frozenset(devices) - {os.stat(os.sep).st_dev}


Stamp = tuple[int, ...]


def stamp(path: str | int) -> Stamp:
    """Return what tells a file, by its path or descriptor, from another one and from itself after a change."""
    status = os.stat(path)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


@contextmanager
def reading(path: str, known: Stamp | None = None) -> Iterator[IO[bytes]]:
    """Open a file that is read and not mapped: of a mapped one that somebody cuts short the system ends the process.

    Raises OSError where it is not, or no longer when the block ends, the file that `known` is of.
    """
    with open_file(path, buffering=0) as file:
        now = stamp(file.fileno())
        if known is not None and now != known:
            raise OSError(f"`{path}` changed since it was opened first")
        yield file
        if stamp(file.fileno()) != now:
            raise OSError(f"`{path}` changed while it was read")


def write_whole(path: str | os.PathLike[str], data: bytes, was: bytes | None = None) -> None:
    """Write a file through a temporary one beside it: it is there whole, or as it was.

    Links are followed, permissions kept; what is no file (a terminal, a pipe) is written to. Raises OSError, whose text
    says what can't be written and why: the folder, the disk, a file marked read-only, or, with `was`, one that does not
    hold these bytes any more.
    """
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        with _worded(path), open(path, "wb", buffering=0) as file:
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
        return
    with writing(path) as descriptor:
        write_bytes(descriptor, data, 0)
        if was is not None and not _holds(path, was):
            raise OSError("the file changed meanwhile")


def _holds(path: str | os.PathLike[str], data: bytes) -> bool:
    with open(path, "rb") as file:
        return file.read(len(data) + 1) == data


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[int]:
    """Open a file as `replacing` does, one that somebody names: links are followed, what must not be replaced is refused.

    Raises OSError, whose text says what can't be written and why.
    """
    target = os.path.realpath(path)
    with _worded(path):
        if not os.path.isdir(os.path.dirname(target)):
            raise OSError(f"there is no folder `{os.path.dirname(target)}`")
        if os.path.exists(target):
            if not os.path.isfile(target):
                raise OSError("it is a folder" if os.path.isdir(target) else "it is not a file")
            if not (os.stat(target).st_mode & 0o222 and os.access(target, os.W_OK)):
                raise OSError("it is read-only")
        with replacing(target) as descriptor:
            yield descriptor


@contextmanager
def _worded(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(f"can't write `{os.fspath(path)}`: {reason(error)}") from None


@contextmanager
def replacing(target: str, name: str | None = None) -> Iterator[int]:
    """Open a new file that takes its place, whole and on the disk, when the block ends without an error.

    Written beside its place, under `name`, which is nobody else's, if given; it has the permissions of the file
    that it replaces. Raises OSError; then nothing is left of it.
    """
    folder = os.path.dirname(target)
    descriptor, temporary = new_part(folder, name)
    try:
        try:
            yield descriptor
            os.fsync(descriptor)
            os.chmod(temporary, _mode(target))
            if (
                os.name == "posix"
            ):  # elsewhere an open file can't be renamed; here it stays locked until it has its name
                os.replace(temporary, target)
        finally:
            os.close(descriptor)
        if os.name != "posix":
            os.replace(temporary, target)
        _sync(folder)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def _mode(target: str) -> int:
    """Return the permissions of a file, or those that a new one gets."""
    if os.path.exists(target):
        return os.stat(target).st_mode & 0o7777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _sync(folder: str) -> None:
    """Put a folder's entries on the disk, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
