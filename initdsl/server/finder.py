"""Findings from a process of their own, so that the server answers an editor's requests at full speed meanwhile."""

from __future__ import annotations

import gc
import logging
import signal
from multiprocessing.connection import Connection

from initdsl.language.syntax.parse import ParseCache
from initdsl.text.companions import Companion
from initdsl.text.diagnostic import Diagnostic

from .findings import findings
from .known import known_at

__all__ = ["Finder", "serve"]


log = logging.getLogger(__name__)


class Finder:
    """A process that looks for findings, and the pipe to it: `Finder().find("a.init", "Linear.weight = 0")`.

    It is started when first asked, and anew after it has died.
    """

    def __init__(self) -> None:
        self.process: Companion | None = None
        self.closed = False

    def find(self, path: str, text: str) -> list[Diagnostic] | None:
        """Return the findings about a text that stands for the file at `path`, None where the process died.

        Blocks until there is an answer.
        """
        try:
            answer: list[Diagnostic] | None = self._companion().ask(path, text)
        except EOFError:
            if not self.closed:
                log.error("the process that looks for findings in %s has died", path)
            if self.process is not None:
                self.process.close()
            self.process = None
            return None
        return answer

    def start(self) -> None:
        """Start the process, so that the first question does not wait for it."""
        self._companion()

    def close(self) -> None:
        """End the process, whatever it is doing; `find` returns None from then on."""
        self.closed = True
        if self.process is not None:
            self.process.terminate()

    def _companion(self) -> Companion:
        """Return the process, started if need be. Raises EOFError once this is closed."""
        if self.closed:
            raise EOFError
        if self.process is None:
            self.process = Companion(__name__)
        return self.process


# files of which the parser's cache is kept
FILES = 16


def serve(pipe: Connection) -> None:
    """Answer requests until the other end of the pipe is closed."""
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
        if not pipe.poll(0.5):  # typing has paused: the collector, off above, would delay an answer
            gc.collect()
            gc.freeze()
