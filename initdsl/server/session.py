"""The server: its documents, kept up to date, and the diagnostics it publishes of them."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from typing import Any

from lsprotocol import types as lsp
from pygls.lsp.server import LanguageServer
from pygls.protocol import LanguageServerProtocol, lsp_method

from initdsl.text.diagnostic import Diagnostic
from initdsl.text.failures import internal
from initdsl.text.source import Source, Span

from .documents import Document, diagnostic_of, path_of
from .finder import Finder
from .text import Text

__all__ = ["REST", "Plain", "Server", "log", "unforeseen"]


log = logging.getLogger(__name__)


# with nothing typed for this many seconds, garbage is collected
REST = 2


class Plain:
    """An answer that is JSON already: `Plain([{"name": "std", "kind": 13}])`.

    Making an object of lsprotocol for each of thousands of parts would take longer than all the rest.
    """

    def __init__(self, value: Any):  # no dataclass, which would be converted part by part
        self.value = value


class Protocol(LanguageServerProtocol):
    """The protocol without pygls' own copies of texts, whose lines break where those of LSP don't."""

    @lsp_method(lsp.TEXT_DOCUMENT_DID_CHANGE)
    def lsp_text_document__did_change(self, params: lsp.DidChangeTextDocumentParams) -> Iterator[Any]:
        handler = self.fm.features.get(lsp.TEXT_DOCUMENT_DID_CHANGE)
        if handler is not None:
            yield handler, (params,), None

    def _serialize_message(self, data: Any) -> Any:
        return data.value if isinstance(data, Plain) else super()._serialize_message(data)


class Server(LanguageServer):
    """The server with its open files, by URI: `Server().open("file:///a.init", "Linear.weight = 0", 1)`."""

    def __init__(self) -> None:
        super().__init__(
            "initdsl",
            metadata.version("initdsl"),
            protocol_cls=Protocol,
            text_document_sync_kind=lsp.TextDocumentSyncKind.Incremental,
        )
        self.documents: dict[str, Document] = {}
        self.finder = Finder()
        self.resting: asyncio.TimerHandle | None = None
        self.background = ThreadPoolExecutor(1, "findings")

    def open(self, uri: str, text: str, version: int | None) -> Document:
        """Return the document of a file that an editor opens."""
        unit = str(getattr(self.workspace.position_encoding, "value", self.workspace.position_encoding) or "utf-16")
        document = Document(uri, path_of(uri), Text(text, unit), version)
        self.documents[uri] = document
        return document

    def change(self, params: lsp.DidChangeTextDocumentParams) -> Document | None:
        """Return the document with an editor's changes made, None for a file that is not open."""
        document = self.documents.get(params.text_document.uri)
        if document is None:
            return None
        text = document.typed
        for change in params.content_changes:
            if isinstance(change, lsp.TextDocumentContentChangePartial):
                start, end = change.range.start, change.range.end
                first, last = text.offset(start.line, start.character), text.offset(end.line, end.character)
                text = text.changed(first, last, change.text)
            else:
                text = Text(change.text, text.unit)
        document.become(text, params.text_document.version)
        return document

    def check(self, document: Document, pause: float) -> None:
        """Look for findings after `pause` seconds; the next call starts the wait anew."""
        if document.task is not None:
            document.task.cancel()
        loop = asyncio.get_running_loop()
        document.task = loop.create_task(self._check(document, pause))
        if self.resting is not None:
            self.resting.cancel()
        self.resting = loop.call_later(REST, _collect)

    async def _check(self, document: Document, pause: float) -> None:
        await asyncio.sleep(pause)
        text, version = document.text, document.version
        try:
            loop = asyncio.get_running_loop()
            findings = await loop.run_in_executor(self.background, self._findings, document, text)
        except Exception as error:
            message = unforeseen(error)
            log.error("no findings for %s: %s", document.uri, message)
            findings = [Diagnostic("internal-error", message, Source(document.path, text.text), Span(0, 0))]
        if findings is None or document.text is not text or document.uri not in self.documents:
            return
        document.found, document.checked = findings, text.text
        diagnostics = [
            diagnostic_of(document, one) for one in findings if one.source is None or one.source.text == text.text
        ]
        self.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(document.uri, diagnostics, version))

    def _findings(self, document: Document, text: Text) -> list[Diagnostic] | None:
        """Return the findings about a text, None where it has changed before its turn came."""
        return self.finder.find(document.path, text.text) if document.text is text else None

    def forget(self, uri: str) -> None:
        """Drop a file that an editor closes, and what was published of it."""
        document = self.documents.pop(uri, None)
        for task in (document.task, document.reading) if document is not None else ():
            if task is not None:
                task.cancel()
        self.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(uri, []))


def unforeseen(error: Exception) -> str:
    """Return the one line that is said where something fails that nobody has foreseen."""
    return f"{internal(error)}; this is a mistake in initdsl: report this line and the file"


def _collect() -> None:
    """Collect garbage, and exempt what remains from later collections."""
    gc.collect()
    gc.freeze()
