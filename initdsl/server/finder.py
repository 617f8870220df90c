"""Findings from a process of its own: while it looks for them, what an editor asks is answered at full speed."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import signal
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from initdsl.language.syntax.parse import ParseCache
from initdsl.text.diagnostic import Diagnostic

from .findings import findings
from .known import known_at

__all__ = ["Finder"]


log = logging.getLogger(__name__)


class Finder:
    """The process and the pipe to it. It is started when first asked, and anew after it has died."""

    def __init__(self) -> None:
        self.process: SpawnProcess | None = None
        self.pipe: Connection | None = None
        self.closed = False

    def find(self, path: str, text: str) -> list[Diagnostic] | None:
        """The findings about a text that stands for a file; `None` where there is no answer. Blocks until they are found."""
        try:
            pipe = self._pipe()
            pipe.send((path, text))
            answer: list[Diagnostic] | None = pipe.recv()
        except (EOFError, OSError):
            if not self.closed:
                log.error("the process that looks for findings in %s has died", path)
            self._end()
            return None
        return answer

    def start(self) -> None:
        """Start the process, so that the first question does not wait for it."""
        self._pipe()

    def close(self) -> None:
        """End the process, whatever it is at; nothing is found any more."""
        self.closed = True
        if self.process is not None:
            self.process.terminate()

    def _pipe(self) -> Connection:
        if self.closed:
            raise EOFError
        if self.pipe is None:
            # started from nothing: the server's threads and standard streams are not for this process
            context = multiprocessing.get_context("spawn")
            self.pipe, theirs = context.Pipe()
            self.process = context.Process(target=_serve, args=(theirs,), name="findings", daemon=True)
            self.process.start()
            theirs.close()
        return self.pipe

    def _end(self) -> None:
        if self.process is not None:
            self.process.terminate()
        if self.pipe is not None:
            self.pipe.close()
        self.process = self.pipe = None


# of so many files it is remembered how they were read
FILES = 16


def _serve(pipe: Connection) -> None:
    """Answer until the other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()
    caches: dict[str, ParseCache] = {}
    while True:
        try:
            path, text = pipe.recv()
        except (EOFError, OSError):
            return
        cache = caches.pop(path, None) or ParseCache()
        caches[path] = cache
        if len(caches) > FILES:
            del caches[next(iter(caches))]
        answer = None
        try:
            answer = findings(path, text, known_at(path), cache)
        except Exception:
            log.exception("no findings for %s", path)
        try:
            pipe.send(answer)
        except OSError:
            return
        del answer
        if not pipe.poll(0.5):  # typing has paused
            gc.collect()
            gc.freeze()
