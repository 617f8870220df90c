"""Python programs in processes of their own, without importing torch again for each: they are forked from one that has.

`python("-c", code)` is `subprocess.run([sys.executable, "-c", code])` in a hundredth of the time. What is said of the start
of a process (that torch is not imported, flags of Python, `PYTHONHASHSEED`) needs `fresh=True`, what is said of its end
(that nothing is left, or lost) `whole_end=True`: all else ends without taking torch apart.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

# seconds that anything is waited for before it is said to hang: what takes one takes ten on a busy machine
LONGEST = 600
FORKS = Path(__file__).parent / "workers" / "forks.py"
# what fork leaves whole: elsewhere the system's own libraries don't bear it
CAN_FORK = sys.platform == "linux"
DISTRIBUTED = (
    "torch.distributed.fsdp", "torch.distributed.tensor.parallel", "torch.distributed.checkpoint",
    "torch._dynamo", "torch._inductor.compile_fx",
)  # fmt: skip

# what nearly every command imports: in a process of its own, since other programs import initdsl themselves
COMMANDS = (
    "torch", "initdsl.cli.program", "initdsl.cli.apply", "initdsl.cli.lint", "initdsl.cli.plan", "initdsl.cli.verify",
    "initdsl.filling.execute", "initdsl.planning.make", "initdsl.verifying.verify", "initdsl.streams.tensors",
)  # fmt: skip


class Forked:
    """What of `subprocess.Popen` is asked of a program that was forked elsewhere."""

    def __init__(self, answer: int) -> None:
        self._answer = os.fdopen(answer)
        self.pid = int(self._answer.readline())
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._answer], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("python", timeout or 0)
            self.returncode = os.waitstatus_to_exitcode(int(self._answer.readline()))
            self._answer.close()
        return self.returncode

    def poll(self) -> int | None:
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Program:
    """A program that runs: what it has said until now, and how it ended."""

    def __init__(self, process: Forked | subprocess.Popen[bytes], words: Sequence[str], out: IO[str], err: IO[str]):
        self.process, self.words, self._out, self._err = process, words, out, err

    def done(self, timeout: float) -> subprocess.CompletedProcess[str]:
        """Wait until it has ended; it is killed if it doesn't in so many seconds."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            said = self.stderr
            raise subprocess.TimeoutExpired(list(self.words), timeout, self.stdout, said) from None
        finally:
            self.process.kill()
        return subprocess.CompletedProcess(list(self.words), status, self.stdout, self.stderr)

    @property
    def stdout(self) -> str:
        self._out.seek(0)
        return self._out.read()

    @property
    def stderr(self) -> str:
        self._err.seek(0)
        return self._err.read()


def start(
    *words: object,
    input: str = "",
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    stderr: int | None = None,
    imports: Sequence[str] = ("torch",),
    fresh: bool = False,
    whole_end: bool = False,
) -> Program:
    """Start `python WORDS`, forked from a process that has imported `imports`, or fresh."""
    given, out, err = _file(input), _file(), _file()
    streams = [given.fileno(), out.fileno(), err.fileno() if stderr is None else stderr]
    command = [str(word) for word in words]
    folder, environment = os.fspath(cwd or os.getcwd()), dict(os.environ if env is None else env)
    process: Forked | subprocess.Popen[bytes]
    if fresh or not CAN_FORK:
        process = subprocess.Popen(
            [sys.executable, *command],
            stdin=streams[0], stdout=streams[1], stderr=streams[2], cwd=folder, env=environment,
        )  # fmt: skip
    else:
        asked = {
            "words": command,
            "folder": os.path.abspath(folder),
            "environment": environment,
            "whole_end": whole_end,
        }
        process = _fork({**asked, "imports": list(imports)}, streams)
    given.close()
    return Program(process, command, out, err)


def python(*words: object, timeout: float = LONGEST, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `python WORDS` to its end; the options are those of `start`."""
    return start(*words, **options).done(timeout)


def command(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `initdsl WORDS` to its end; what the commands import is there already, unless it is started fresh."""
    return python("-c", "from initdsl.cli import main; main()", *words, **{"imports": COMMANDS, **options})


def ranks(
    count: int, *words: object, timeout: float = LONGEST, **options: Any
) -> list[subprocess.CompletedProcess[str]]:
    """Run `python WORDS` on so many ranks of a process group, with the environment that `torchrun` gives each."""
    place = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(count),
        "OMP_NUM_THREADS": "1",
    }
    usual = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **place}
    started = [
        start(*words, env={**usual, "RANK": str(rank), "LOCAL_RANK": str(rank)}, imports=DISTRIBUTED, **options)
        for rank in range(count)
    ]
    ends = time.monotonic() + timeout
    try:
        return [program.done(max(ends - time.monotonic(), 0.1)) for program in started]
    finally:
        for program in started:
            program.process.kill()


def _free_port() -> int:
    """One below those that a system gives to whoever asks for any: nobody takes it before rank 0 listens there."""
    for _ in range(100):
        port = random.SystemRandom().randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError("no port is free between 20000 and 32000")


@cache
def _channel(of_ours: bool) -> socket.socket:
    """Start the process that forks, once for the process that asks, with modules of ours or without; it ends with it."""
    here, there = socket.socketpair()
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "OMP_NUM_THREADS")}
    process = subprocess.Popen(
        [sys.executable, "-P", FORKS, str(there.fileno())],
        pass_fds=[there.fileno()], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    there.close()

    def end() -> None:
        here.close()
        process.wait()

    atexit.register(end)
    return here


def _file(text: str = "") -> IO[str]:
    file = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - the program that has it ends it
    file.write(text)
    file.seek(0)
    return file


def _fork(request: dict[str, Any], streams: list[int]) -> Forked:
    read, write = os.pipe()
    with _file(json.dumps(request)) as file:
        of_ours = any(name.startswith("initdsl") for name in request["imports"])
        files = [file.fileno(), *streams, write]
        try:
            socket.send_fds(_channel(of_ours), [b"-"], files)
        except BrokenPipeError:  # it was ended from elsewhere, by want of memory or a signal to all
            _channel.cache_clear()
            socket.send_fds(_channel(of_ours), [b"-"], files)
        os.close(write)
        return Forked(read)
