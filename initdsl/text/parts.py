"""Files while they are written, `.initdsl-*.part`, and what runs that were killed have left of them.

Whoever writes a part holds a lock on it, which the system takes back when that process ends, however it ends. A part
that nobody holds is removed by the next run that writes to its folder.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
import time
from contextlib import suppress
from zlib import crc32

__all__ = ["new_part", "sweep"]


# `.initdsl-1f0c23ab-k3x_9d2q.part`: the machine, then what makes the name a new one
PART = re.compile(r"\.initdsl-(?:([0-9a-f]{8})-)?.*\.part", re.DOTALL)


# seconds after which a part of another machine is taken for left: on some shared disks locks hold on one machine only
A_DAY = 86_400


# milliseconds to wait for the lock of a new file: whoever looks whether it was left may be kept from going on meanwhile
WAITS = 10_000


_swept: set[str] = set()  # folders, once a process


def new_part(folder: str, name: str | None = None) -> tuple[int, str]:
    """Open a new file in a folder, locked, under a name of its own or the given one; return its descriptor and path.

    Removes what killed runs have left in the folder, and what is there under a given name. Raises OSError.
    """
    if folder not in _swept:
        _swept.add(folder)
        sweep(folder)
    while True:
        if name is None:
            descriptor, path = tempfile.mkstemp(dir=folder or ".", prefix=f".initdsl-{_machine()}-", suffix=".part")
        else:
            path = os.path.join(folder, name)
            with suppress(FileNotFoundError):
                os.unlink(path)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        _locked(descriptor, WAITS)
        if os.name != "posix" or os.fstat(descriptor).st_nlink:
            return descriptor, path
        os.close(descriptor)  # somebody swept it away before it was locked


def sweep(folder: str) -> None:
    """Remove the parts in a folder that nobody is writing any more; where the system has no locks, none."""
    if os.name != "posix":
        return
    with suppress(OSError), os.scandir(folder or ".") as entries:
        for path in [entry.path for entry in entries if PART.fullmatch(entry.name)]:
            with suppress(OSError):
                _remove_if_left(path)


def _remove_if_left(path: str) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        is_ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
        part = PART.fullmatch(os.path.basename(path))
        is_near = part is None or part[1] in (None, _machine())
        if is_ours and (is_near or time.time() - status.st_mtime > A_DAY) and _locked(descriptor):
            now = os.lstat(path)  # it may have become whole, and another be there, since it was opened
            if (now.st_dev, now.st_ino) == (status.st_dev, status.st_ino):
                os.unlink(path)
    finally:
        os.close(descriptor)


def _locked(descriptor: int, waits: int = 0) -> bool:
    """Lock an open file until it is closed; False where somebody else holds it all the time, or there are no locks."""
    try:
        import fcntl
    except ImportError:
        return False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waits == 0:
                return False
        except OSError:
            return False
        else:
            return True
        waits -= 1
        time.sleep(0.001)


def _machine() -> str:
    return f"{crc32(os.uname().nodename.encode()) if hasattr(os, 'uname') else 0:08x}"
