"""The language server as editors speak to it: LSP on one side, functions of a text and an offset on the other."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import wraps
from itertools import chain
from typing import Any, TypeVar

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcInvalidParams

from initdsl.formatter.entries import LaidOut
from initdsl.formatter.layout import format_range
from initdsl.language.syntax.lenient import lenient_units
from initdsl.language.syntax.parser import parser
from initdsl.text.diagnostic import InitDSLError
from initdsl.text.source import Source

from .documents import Document
from .hover import count_ahead
from .known import Known, torch_classes
from .requests import REQUESTS
from .session import REST, Server, log, unforeseen
from .text import Text

__all__ = ["make_server"]


# what is done ahead is done for this many seconds, and then for as many it is not
SLICE = 0.004


# findings wait until typing pauses for this many seconds
PAUSE = 0.05


T = TypeVar("T")


async def _read_ahead(document: Document) -> None:
    """Read what an editor will ask about, a little at a time, so that nothing it asks meanwhile waits for all of it."""
    text, loop = document.text, asyncio.get_running_loop()
    known = await loop.run_in_executor(None, lambda: document.known)
    try:
        began = loop.time()
        for _ in chain(_outlined(document, text), _counted(document, known)):
            if loop.time() - began > SLICE:
                await asyncio.sleep(SLICE)
                began = loop.time()
        await asyncio.sleep(REST)
        document.laid_out = await loop.run_in_executor(None, _lay_out_ahead, document.text.text)
    except Exception as error:
        log.error("could not read %s ahead: %s", document.uri, unforeseen(error))


def _outlined(document: Document, text: Text) -> Iterator[None]:
    """Read a document unit by unit, so that its outline has little left to do; stop where that was asked for already."""
    units = lenient_units(Source("", text.text), document.cache.pieces.units.ahead)
    while not document.is_read and document.text is text and next(units, None) is not None:
        yield


def _counted(document: Document, known: Known) -> Iterator[None]:
    """Count what the selectors of a document select."""
    yield from count_ahead(document.outline, known)


def _lay_out_ahead(text: str) -> LaidOut:
    laid_out = LaidOut()
    with suppress(InitDSLError):
        format_range(text, 1, 1, laid_out)
    return laid_out


def _bound(server: Server, handler: Callable[[Document, Any], T]) -> Callable[[Any], T | None]:
    """Return what answers a request about an open document.

    It answers nothing where it fails, and says so in the log: an editor never sees half a server.
    """

    def bound(params: Any) -> T | None:
        document = server.documents.get(params.text_document.uri)
        if document is None:
            return None
        try:
            return handler(document, params)
        except JsonRpcInvalidParams:
            raise
        except Exception as error:
            log.error("no answer to %s: %s", handler.__name__, unforeseen(error))
            return None

    bound.__name__ = handler.__name__
    return bound


def _told(handler: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return what is done where an editor tells something; it says so in the log where that fails."""

    @wraps(handler)
    def told(params: Any) -> None:
        try:
            handler(params)
        except Exception as error:
            log.error("nothing done of `%s`: %s", handler.__name__, unforeseen(error))

    return told


def make_server() -> Server:
    """Return a server that is ready to start."""
    server = Server()
    gc.disable()  # it would take a tenth of a second of an answer; `_collect` runs when nothing is typed
    # a file that is opened is read in a thread; what an editor asks meanwhile waits no longer than this for its turn
    sys.setswitchinterval(0.001)
    for feature, handler, options in REQUESTS:
        server.feature(feature, options)(_bound(server, handler))

    @server.feature(lsp.INITIALIZED)
    @_told
    def initialized(params: lsp.InitializedParams) -> None:
        """What the first answers would wait for."""
        asyncio.get_running_loop().run_in_executor(server.background, server.finder.start)
        parser(), torch_classes()

    @server.feature(lsp.TEXT_DOCUMENT_DID_OPEN)
    @_told
    def opened(params: lsp.DidOpenTextDocumentParams) -> None:
        item = params.text_document
        document = server.open(item.uri, item.text, item.version)
        server.check(document, 0)
        document.reading = asyncio.get_running_loop().create_task(_read_ahead(document))

    @server.feature(lsp.TEXT_DOCUMENT_DID_CHANGE)
    @_told
    def changed(params: lsp.DidChangeTextDocumentParams) -> None:
        document = server.change(params)
        if document is not None:
            server.check(document, PAUSE)

    @server.feature(lsp.TEXT_DOCUMENT_DID_SAVE)
    @_told
    def saved(params: lsp.DidSaveTextDocumentParams) -> None:
        for document in server.documents.values():  # another file may use this one
            server.check(document, 0)

    @server.feature(lsp.SHUTDOWN)
    @_told
    def shut_down(params: None) -> None:
        server.finder.close()

    @server.feature(lsp.TEXT_DOCUMENT_DID_CLOSE)
    @_told
    def closed(params: lsp.DidCloseTextDocumentParams) -> None:
        server.forget(params.text_document.uri)

    return server
