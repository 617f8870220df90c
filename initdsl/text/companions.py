"""Further Python processes of ours, which find no module in the working folder either."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from multiprocessing import Pipe, connection
from multiprocessing.connection import Connection
from typing import Any

from .search_path import without_working_folder

__all__ = ["Companion", "connected"]


# `-P`: the folder it runs in is not searched, even before the path is set
PROGRAM = """\
import sys; sys.path[:] = {path!r}
from initdsl.text.companions import connected
from {module} import serve
serve(connected({handle}))
"""


class Companion:
    """A process that answers what it is asked: `Companion("initdsl.server.finder").ask("a.init", "Linear.weight = 0")`.

    It runs `serve` of a module, with one end of a pipe, and searches for modules where this process does, but for the
    working folder. It is ended with this process.

    multiprocessing would start it as `python -c`, which looks in the working folder first: a `pickle.py` there would run.
    """

    def __init__(self, module: str) -> None:
        self.pipe, other_end = Pipe()
        handle = other_end.fileno()
        os.set_inheritable(handle, True) if os.name == "posix" else os.set_handle_inheritable(handle, True)  # type: ignore[attr-defined]
        program = PROGRAM.format(path=without_working_folder(sys.path), module=module, handle=handle)
        kept: dict[str, Any] = {"pass_fds": [handle]} if os.name == "posix" else {"close_fds": False}
        try:
            self.process = subprocess.Popen(
                [sys.executable, *_flags(), "-P", "-c", program],
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                **kept,
            )
        finally:
            other_end.close()
        self.close = weakref.finalize(self, _end, self.process, self.pipe)

    def ask(self, *question: Any) -> Any:
        """Return the answer to a question. Blocks until there is one; raises EOFError where the process died."""
        try:
            self.pipe.send(question)
            return self.pipe.recv()
        except OSError:
            raise EOFError from None

    def terminate(self) -> None:
        """Ask the process to end, whatever it is doing."""
        self.process.terminate()

    def kill(self) -> None:
        """End the process at once."""
        self.process.kill()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the process has ended, or some seconds."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return

    def is_alive(self) -> bool:
        """Tell whether the process runs."""
        return self.process.poll() is None


def connected(handle: int) -> Connection:
    """Return the end of a pipe that this process was started with."""
    if os.name == "posix":
        return Connection(handle)
    end: Connection = connection.PipeConnection(handle)  # type: ignore[attr-defined]
    return end


def _end(process: subprocess.Popen[bytes], pipe: Connection) -> None:
    process.kill()
    process.wait()
    pipe.close()


def _flags() -> list[str]:
    """Return the options of Python that this process was started with, as far as they say where modules lie."""
    flags = sys.flags
    given = {
        "-I": flags.isolated,
        "-E": flags.ignore_environment,
        "-s": flags.no_user_site,
        "-S": flags.no_site,
        "-B": flags.dont_write_bytecode,
    }
    return [option for option, is_given in given.items() if is_given]


def _environment() -> dict[str, str]:
    """Return the environment, in which PYTHONPATH does not lead into the working folder."""
    environment = dict(os.environ)
    given = environment.pop("PYTHONPATH", "")
    places = without_working_folder([os.path.abspath(place) for place in given.split(os.pathsep) if place])
    return {**environment, "PYTHONPATH": os.pathsep.join(places)} if places else environment
