"""The language server behind a client of its own: JSON-RPC over standard input and output, and texts in UTF-16."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.processes import LONGEST

__all__ = ["Wire", "changed"]


class Wire:
    """A server's process with a folder to work in, and messages to and from it. Use as a context."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.log = folder / "server.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from initdsl.cli import main; main()", "lsp"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder,
            )
        self.number = 0
        self.published: dict[str, Any] = {}

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None and not stream.closed:
                stream.close()

    # ---- messages

    def send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """The next message; what is published is kept, by the name of its file."""
        assert self.process.stdout is not None
        length = 0
        while line := self.process.stdout.readline().strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        body = self.process.stdout.read(length)
        if not body:
            raise EOFError(self.log.read_text("utf-8", "replace"))
        message: dict[str, Any] = json.loads(body)
        if message.get("method") == "textDocument/publishDiagnostics":
            self.published[message["params"]["uri"]] = message["params"]
        return message

    def notify(self, method: str, params: Any) -> None:
        self.send({"method": method, "params": params})

    def ask(self, method: str, params: Any) -> Any:
        """The result of a request. Raises LookupError with the message of an error."""
        self.number += 1
        self.send({"id": self.number, "method": method, "params": params})
        while (message := self.receive()).get("id") != self.number:
            pass
        if "error" in message:
            raise LookupError(message["error"]["message"])
        return message["result"]

    # ---- what an editor does

    def start(self) -> None:
        self.ask("initialize", {"processId": None, "rootUri": self.folder.as_uri(), "capabilities": {}})
        self.notify("initialized", {})

    def stop(self) -> int:
        """The exit status after an orderly end."""
        assert self.process.stdin is not None
        self.ask("shutdown", None)
        self.notify("exit", None)
        self.process.stdin.close()
        return self.process.wait(LONGEST)

    def uri(self, name: str) -> str:
        return (self.folder / name).as_uri()

    def file(self, name: str) -> dict[str, Any]:
        return {"textDocument": {"uri": self.uri(name)}}

    def open(self, name: str, text: str) -> None:
        item = {"uri": self.uri(name), "languageId": "initdsl", "version": 1, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": item})

    def change(self, name: str, version: int, *changes: dict[str, Any]) -> None:
        params = {"textDocument": {"uri": self.uri(name), "version": version}, "contentChanges": list(changes)}
        self.notify("textDocument/didChange", params)

    def findings(self, name: str, version: int) -> list[Any]:
        """What is published about a version of a file, waited for."""
        while self.published.get(self.uri(name), {}).get("version") != version:
            self.receive()
        found: list[Any] = self.published[self.uri(name)]["diagnostics"]
        return found


# ---- a text as the specification has it: lines of UTF-16 code units

ENDS = re.compile("\r\n|\n|\r")


def changed(text: str, change: dict[str, Any]) -> str:
    """A text after a change, by the specification: positions in UTF-16 code units, kept within line and text."""
    if "range" not in change:
        new: str = change["text"]
        return new
    units = text.encode("utf-16-le", "surrogatepass")
    lines = [match.end() for match in ENDS.finditer(text)]
    starts = [0, *(len(text[:end].encode("utf-16-le", "surrogatepass")) for end in lines)]

    def offset(place: dict[str, int]) -> int:
        line = place["line"]
        if line >= len(starts):
            return len(units)
        stop = starts[line + 1] if line + 1 < len(starts) else len(units)
        row = units[starts[line] : stop].decode("utf-16-le", "surrogatepass").rstrip("\r\n")
        return starts[line] + min(2 * place["character"], len(row.encode("utf-16-le", "surrogatepass")))

    start, end = offset(change["range"]["start"]), offset(change["range"]["end"])
    inserted = change["text"].encode("utf-16-le", "surrogatepass")
    return (units[:start] + inserted + units[end:]).decode("utf-16-le", "surrogatepass")
