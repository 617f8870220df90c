"""A process that has imported torch, and forks a program for whoever asks: `tests/support/processes.py` starts it and asks.

    python -P tests/support/workers/forks.py SOCKET

Each request is five descriptors: a file with the words, environment and folder of the program as JSON, its three
streams, and a pipe for the answer: two lines, the process's number and, once it has ended, its exit status. It must not
import initdsl unless it is asked for it: a program imports what it needs, as it would alone.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import threading
import types
from typing import Any


def serve(channel: socket.socket) -> dict[str, Any]:
    """Answer requests until the socket closes. Returns in a forked process, with the program it is to become."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: whoever asks ends the programs
    while True:
        _, descriptors, _, _ = socket.recv_fds(channel, 1, 5)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not descriptors:
            os._exit(0)
        with open(descriptors[0], encoding="utf-8") as file:
            request: dict[str, Any] = json.load(file)
        for name in request["imports"]:
            with contextlib.suppress(ImportError):  # whoever asks may know where it lies: the program says it, if not
                importlib.import_module(name)
        if "triton" not in sys.modules:  # it counts at the end what is left of it, which what is frozen is
            gc.freeze()
        if os.fork() == 0:
            channel.close()
            supervise(request, descriptors)
            return request
        for descriptor in descriptors[1:]:
            os.close(descriptor)


def supervise(request: dict[str, Any], descriptors: list[int]) -> None:
    """Return in the program's own process; the one that waits for it never does."""
    answer = descriptors[4]
    if (pid := os.fork()) != 0:
        os.write(answer, f"{pid}\n".encode())
        status = os.waitpid(pid, 0)[1]
        with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
            os.write(answer, f"{status}\n".encode())
        os._exit(0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as a program begins that nohup has not started
    for stream, descriptor in enumerate(descriptors[1:4]):
        os.dup2(descriptor, stream)
    for descriptor in descriptors[1:]:
        os.close(descriptor)


def become(words: list[str], folder: str, environment: dict[str, str]) -> None:
    """Run a program as `python WORDS` would: `-c CODE`, `-m MODULE` or a file."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if threads := environment.get("OMP_NUM_THREADS"):
        import torch

        torch.set_num_threads(int(threads))
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    if words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        sys.path.insert(0, "")
        sys.modules["__main__"] = module = types.ModuleType("__main__")
        exec(compile(words[1], "<string>", "exec"), module.__dict__)
    elif words[0] == "-m":
        sys.argv = list(words[1:])
        sys.path.insert(0, folder)
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(words)
        sys.path.insert(0, os.path.dirname(os.path.realpath(words[0])))
        runpy.run_path(words[0], run_name="__main__")


def end(status: int) -> None:
    """End as Python does, but at once: it would take torch apart, which takes longer than most of these programs."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    request = serve(socket.socket(fileno=int(sys.argv[1])))
    status: object = 0
    try:
        become(request["words"], request["folder"], request["environment"])
    except SystemExit as ended:
        status = ended.code or 0
        if not isinstance(status, int) or request["whole_end"]:
            raise
    if not request["whole_end"]:
        assert isinstance(status, int)
        end(status & 0xFF)
