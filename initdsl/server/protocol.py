"""The language server as editors speak to it: LSP on one side, functions of a text and an offset on the other."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from itertools import chain
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import pathname2url, url2pathname

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcInvalidParams
from pygls.lsp.server import LanguageServer
from pygls.protocol import LanguageServerProtocol, lsp_method

from initdsl.formatter.layout import LaidOut, format_range
from initdsl.language.syntax.parse import parser
from initdsl.text.diagnostic import Diagnostic, Edit, InitDSLError
from initdsl.text.source import Span

from .completion import completions
from .finder import Finder
from .hover import count_ahead, counts, definition, hover
from .known import Known, known_at, torch_classes
from .outline import Declaration, Refused, Symbol, outline, read_ahead, renamed, symbols
from .pieces import Colour, coloured, cut
from .text import Text

__all__ = ["Server", "make_server"]


log = logging.getLogger(__name__)


# with nothing typed for this many seconds, garbage is collected
REST = 2


# what is done ahead is done for this many seconds, and then for as many it is not
SLICE = 0.004


# findings wait until typing pauses for this many seconds
PAUSE = 0.05


# the kind of a token in the grammar's table: its type in LSP
TOKEN_TYPES = {
    "comment": "comment", "string": "string", "regex": "regexp", "number": "number", "statement": "keyword",
    "word": "keyword", "constant": "keyword", "pseudo": "keyword", "reserved": "keyword", "class": "class",
    "step": "property", "function": "function", "parameter": "parameter", "definition": "variable", "name": "variable",
    "operator": "operator",
}  # fmt: skip


LEGEND = sorted(set(TOKEN_TYPES.values()))


MODIFIERS = ["declaration", "readonly"]


SEVERITIES = {
    "error": lsp.DiagnosticSeverity.Error, "warning": lsp.DiagnosticSeverity.Warning,
    "note": lsp.DiagnosticSeverity.Information,
}  # fmt: skip


COMPLETION_KINDS = {
    "keyword": lsp.CompletionItemKind.Keyword, "class": lsp.CompletionItemKind.Class,
    "member": lsp.CompletionItemKind.Property, "module": lsp.CompletionItemKind.Module,
    "function": lsp.CompletionItemKind.Function, "parameter": lsp.CompletionItemKind.Field,
    "enum": lsp.CompletionItemKind.EnumMember, "variable": lsp.CompletionItemKind.Variable,
    "value": lsp.CompletionItemKind.Constant, "file": lsp.CompletionItemKind.File,
}  # fmt: skip


SYMBOL_KINDS = {
    "let": lsp.SymbolKind.Constant, "use": lsp.SymbolKind.File, "block": lsp.SymbolKind.Namespace,
    "statement": lsp.SymbolKind.Property,
}  # fmt: skip


T = TypeVar("T")


@dataclass(eq=False)
class Document:
    """An open file: what was `typed`, and that as it is read. `found` are the findings about `checked`, an earlier text maybe."""

    uri: str
    path: str
    typed: Text
    version: int | None
    found: list[Diagnostic] = field(default_factory=list)
    checked: str | None = None
    task: asyncio.Task[None] | None = None
    reading: asyncio.Task[None] | None = None
    laid_out: LaidOut = field(default_factory=LaidOut)

    def __post_init__(self) -> None:
        self.text = _without_bom(self.typed)

    def become(self, typed: Text, version: int | None) -> None:
        """Take over a change."""
        self.typed, self.text, self.version = typed, _without_bom(typed), version

    @property
    def known(self) -> Known:
        return known_at(self.path)

    def range(self, span: Span) -> lsp.Range:
        return _range(self.text, span)

    def offset(self, position: lsp.Position) -> int:
        return self.text.offset(position.line, position.character)

    def span(self, range_: lsp.Range) -> Span:
        return Span(self.offset(range_.start), self.offset(range_.end))


def _range(text: Text, span: Span) -> lsp.Range:
    start, end = text.place(span.start), text.place(span.end)
    return lsp.Range(lsp.Position(*start), lsp.Position(*end))


class Plain:
    """An answer that is JSON as it stands: of thousands of parts, the protocol's classes would take longer than the rest."""

    def __init__(self, value: Any):  # no dataclass, which would be converted part by part
        self.value = value


class Protocol(LanguageServerProtocol):
    """pygls' own copy of a text breaks lines where LSP doesn't: only ours is kept up to date."""

    @lsp_method(lsp.TEXT_DOCUMENT_DID_CHANGE)
    def lsp_text_document__did_change(self, params: lsp.DidChangeTextDocumentParams) -> Iterator[Any]:
        handler = self.fm.features.get(lsp.TEXT_DOCUMENT_DID_CHANGE)
        if handler is not None:
            yield handler, (params,), None

    def _serialize_message(self, data: Any) -> Any:
        return data.value if isinstance(data, Plain) else super()._serialize_message(data)


class Server(LanguageServer):
    """The open files, each kept up to date change by change."""

    def __init__(self) -> None:
        super().__init__(
            "initdsl", metadata.version("initdsl"), protocol_cls=Protocol,
            text_document_sync_kind=lsp.TextDocumentSyncKind.Incremental,
        )  # fmt: skip
        self.documents: dict[str, Document] = {}
        self.finder = Finder()
        self.resting: asyncio.TimerHandle | None = None
        self.background = ThreadPoolExecutor(1, "findings")

    def open(self, uri: str, text: str, version: int | None) -> Document:
        unit = str(getattr(self.workspace.position_encoding, "value", self.workspace.position_encoding) or "utf-16")
        document = Document(uri, _path(uri), Text(text, unit), version)
        self.documents[uri] = document
        return document

    def change(self, params: lsp.DidChangeTextDocumentParams) -> Document | None:
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
        """Look for findings soon; a change in the meantime begins the wait anew."""
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
            found = await loop.run_in_executor(self.background, self._found, document, text)
        except Exception:
            log.exception("no findings for %s", document.uri)
            return
        if found is None or document.text is not text or document.uri not in self.documents:
            return
        document.found, document.checked = found, text.text
        shown = [_diagnostic(document, one) for one in found if one.source is None or one.source.text == text.text]
        self.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(document.uri, shown, version))

    def _found(self, document: Document, text: Text) -> list[Diagnostic] | None:
        """The findings about a text; `None` where it has changed before its turn came."""
        return self.finder.find(document.path, text.text) if document.text is text else None

    def forget(self, uri: str) -> None:
        document = self.documents.pop(uri, None)
        for task in (document.task, document.reading) if document is not None else ():
            if task is not None:
                task.cancel()
        self.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(uri, []))


def _without_bom(text: Text) -> Text:
    """A text whose byte order mark is a blank, so that every place stays where it is."""
    return Text(f" {text.text[1:]}", text.unit) if text.text.startswith("\ufeff") else text


def _collect() -> None:
    """Collect garbage, and never look again at what is left."""
    gc.collect()
    gc.freeze()


async def _read_ahead(document: Document) -> None:
    """Read what an editor will ask about, a little at a time, so that nothing it asks meanwhile waits for all of it."""
    text, loop = document.text.text, asyncio.get_running_loop()
    known = await loop.run_in_executor(None, lambda: document.known)
    try:
        began = loop.time()
        for _ in chain(read_ahead(text), count_ahead(text, known)):
            if loop.time() - began > SLICE:
                await asyncio.sleep(SLICE)
                began = loop.time()
        await asyncio.sleep(REST)
        document.laid_out = await loop.run_in_executor(None, _lay_out_ahead, document.text.text)
    except Exception:
        log.exception("could not read %s ahead", document.uri)


def _lay_out_ahead(text: str) -> LaidOut:
    laid_out = LaidOut()
    with suppress(InitDSLError):
        format_range(text, 1, 1, laid_out)
    return laid_out


def _path(uri: str) -> str:
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return url2pathname(parts.path)
    return os.path.join(os.getcwd(), os.path.basename(parts.path) or "untitled.init")


def _uri(path: str) -> str:
    return "file://" + pathname2url(os.path.abspath(path))


def _diagnostic(document: Document, found: Diagnostic) -> lsp.Diagnostic:
    span = found.span or Span(0, 0)
    message = f"{found.message}\n{found.hint}" if found.hint else found.message
    related = [
        lsp.DiagnosticRelatedInformation(lsp.Location(document.uri, document.range(label.span)), label.text)
        for label in found.labels
        if found.source is not None and label.source.name == found.source.name
    ]
    unused = [lsp.DiagnosticTag.Unnecessary] if found.name.startswith("unused-") else None
    return lsp.Diagnostic(
        document.range(span), message, severity=SEVERITIES[found.severity], code=found.name, source="initdsl",
        related_information=related or None, tags=unused,
    )  # fmt: skip


def _guarded(handler: Callable[[Server, Any], T]) -> Callable[[Server, Any], T | None]:
    """A handler that answers nothing where it fails, and says so in the log: an editor never sees half a server."""

    def guarded(server: Server, params: Any) -> T | None:
        try:
            return handler(server, params)
        except JsonRpcInvalidParams:
            raise
        except Exception:
            log.exception("no answer to %s", handler.__name__)
            return None

    guarded.__name__ = handler.__name__
    return guarded


# ---- what editors ask


def _complete(server: Server, params: lsp.CompletionParams) -> lsp.CompletionList | None:
    document = server.documents.get(params.text_document.uri)
    if document is None:
        return None
    span, items = completions(document.text.text, document.offset(params.position), document.known, document.path)
    range_ = document.range(span)
    return lsp.CompletionList(
        is_incomplete=False,
        items=[
            lsp.CompletionItem(
                item.label, kind=COMPLETION_KINDS[item.kind], detail=item.detail or None, sort_text=f"{place:04}",
                documentation=_markdown(item.documentation) if item.documentation else None,
                text_edit=lsp.TextEdit(range_, item.label),
            )
            for place, item in enumerate(items)
        ],
    )  # fmt: skip


def _markdown(text: str) -> lsp.MarkupContent:
    return lsp.MarkupContent(lsp.MarkupKind.Markdown, text)


def _hover(server: Server, params: lsp.HoverParams) -> lsp.Hover | None:
    document = server.documents.get(params.text_document.uri)
    found = document and hover(document.text.text, document.offset(params.position), document.known)
    if not document or not found:
        return None
    return lsp.Hover(_markdown(found[1]), document.range(found[0]))


def _definition(server: Server, params: lsp.DefinitionParams) -> lsp.Location | None:
    document = server.documents.get(params.text_document.uri)
    if document is None:
        return None
    found = definition(document.text.text, document.offset(params.position), document.path, document.known)
    if found is None:
        return None
    path, span = found
    if path is None:
        return lsp.Location(document.uri, document.range(span))
    with open(path, encoding="utf-8", newline="") as file:
        return lsp.Location(_uri(path), _range(Text(file.read(), document.text.unit), span))


def _prepare_rename(server: Server, params: lsp.PrepareRenameParams) -> lsp.Range | None:
    document = server.documents.get(params.text_document.uri)
    if document is None:
        return None
    found = outline(document.text.text)
    at = found.name_at(document.offset(params.position))
    declared = at is not None and (isinstance(at, Declaration) or found.declaration(at.name, at.piece) is not None)
    return document.range(at.span) if at is not None and declared else None


def _rename(server: Server, params: lsp.RenameParams) -> lsp.WorkspaceEdit | None:
    document = server.documents.get(params.text_document.uri)
    if document is None:
        return None
    try:
        spans = renamed(document.text.text, document.offset(params.position), params.new_name)
    except Refused as refused:
        raise JsonRpcInvalidParams(str(refused)) from None
    return lsp.WorkspaceEdit({document.uri: [lsp.TextEdit(document.range(span), params.new_name) for span in spans]})


def _format(server: Server, params: lsp.DocumentFormattingParams) -> list[lsp.TextEdit] | None:
    document = server.documents.get(params.text_document.uri)
    return None if document is None else _laid_out(document, 1, len(document.text.starts))


def _format_range(server: Server, params: lsp.DocumentRangeFormattingParams) -> list[lsp.TextEdit] | None:
    document = server.documents.get(params.text_document.uri)
    if document is None:
        return None
    end = params.range.end
    # a range that ends before the first character of a line does not hold that line
    last = end.line if end.character == 0 and end.line > params.range.start.line else end.line + 1
    return _laid_out(document, params.range.start.line + 1, last)


def _laid_out(document: Document, first: int, last: int) -> list[lsp.TextEdit] | None:
    try:
        return _edits(document, format_range(document.text.text, first, last, document.laid_out))
    except InitDSLError:
        return None


def _edits(document: Document, edits: Sequence[Edit]) -> list[lsp.TextEdit]:
    return [lsp.TextEdit(document.range(edit.span), edit.text) for edit in edits]


def _fixes(server: Server, params: lsp.CodeActionParams) -> list[lsp.CodeAction] | None:
    document = server.documents.get(params.text_document.uri)
    if document is None or document.checked != document.text.text:
        return None
    asked = document.span(params.range)
    only = params.context.only
    if only and not any(
        lsp.CodeActionKind.QuickFix.value.startswith(str(getattr(kind, "value", kind))) for kind in only
    ):
        return []
    return [
        lsp.CodeAction(
            found.fix.title, kind=lsp.CodeActionKind.QuickFix, diagnostics=[_diagnostic(document, found)],
            is_preferred=found.fix.safe, edit=lsp.WorkspaceEdit({document.uri: _edits(document, found.fix.edits)}),
        )
        for found in document.found
        if found.fix is not None and found.span is not None
        and found.source is not None and found.source.text == document.checked
        and found.span.start <= asked.end and asked.start <= found.span.end
    ]  # fmt: skip


def _symbols(server: Server, params: lsp.DocumentSymbolParams) -> Plain | None:
    document = server.documents.get(params.text_document.uri)
    if document is None:
        return None

    def place(offset: int) -> dict[str, int]:
        line, column = document.text.place(offset)
        return {"line": line, "character": column}

    def shown(symbol: Symbol) -> dict[str, Any]:
        range_ = {"start": place(symbol.span.start), "end": place(symbol.span.end)}
        named = range_
        if symbol.name_span != symbol.span:
            named = {"start": place(symbol.name_span.start), "end": place(symbol.name_span.end)}
        found: dict[str, Any] = {
            "name": symbol.name, "kind": SYMBOL_KINDS[symbol.kind].value, "range": range_, "selectionRange": named,
        }  # fmt: skip
        if symbol.children:
            found["children"] = [shown(child) for child in symbol.children]
        return found

    return Plain([shown(symbol) for symbol in symbols(document.text.text)])


def _tokens(server: Server, params: lsp.SemanticTokensParams) -> Plain | None:
    document = server.documents.get(params.text_document.uri)
    return None if document is None else _coloured(document, Span(0, len(document.text.text)))


def _range_tokens(server: Server, params: lsp.SemanticTokensRangeParams) -> Plain | None:
    document = server.documents.get(params.text_document.uri)
    return None if document is None else _coloured(document, document.span(params.range))


def _coloured(document: Document, asked: Span) -> Plain:
    text = document.text
    pieces, comments = cut(text.text)
    colours = [Colour(start, end, "comment") for start, end in comments if end >= asked.start and start <= asked.end]
    for piece in pieces:
        if piece.end >= asked.start and piece.start <= asked.end:
            colours += [Colour(piece.start + c.start, piece.start + c.end, c.kind) for c in coloured(piece.text)]
    colours.sort()
    data: list[int] = []
    line = column = 0
    plain = text.plain
    starts, number = text.starts, 0
    for start, end, kind in colours:
        if kind not in TOKEN_TYPES or end <= start:
            continue
        while number + 1 < len(starts) and starts[number + 1] <= start:
            number += 1
        if number + 1 < len(starts):
            end = min(end, starts[number + 1])  # a token lies on one line
        if plain:
            here, width = start - starts[number], end - start
        else:
            here = text.place(start).column
            width = Text(text.text[start:end], text.unit).place(end - start).column
        data += [number - line, here - column if number == line else here, width, LEGEND.index(TOKEN_TYPES[kind])]
        data.append(3 if kind == "definition" else 0)
        line, column = number, here
    return Plain({"data": data})


def _hints(server: Server, params: lsp.InlayHintParams) -> list[lsp.InlayHint] | None:
    document = server.documents.get(params.text_document.uri)
    if document is None:
        return None
    asked = document.span(params.range)
    return [
        lsp.InlayHint(lsp.Position(*document.text.place(offset)), label, padding_left=True)
        for offset, label in counts(document.text.text, *asked, document.known)
        if asked.start <= offset <= asked.end
    ]


REQUESTS: list[tuple[str, Callable[[Server, Any], Any], Any]] = [
    (lsp.TEXT_DOCUMENT_COMPLETION, _complete, lsp.CompletionOptions(trigger_characters=[".", "[", "(", "=", '"', "~"])),
    (lsp.TEXT_DOCUMENT_HOVER, _hover, None),
    (lsp.TEXT_DOCUMENT_DEFINITION, _definition, None),
    (lsp.TEXT_DOCUMENT_PREPARE_RENAME, _prepare_rename, None),
    (lsp.TEXT_DOCUMENT_RENAME, _rename, lsp.RenameOptions(prepare_provider=True)),
    (lsp.TEXT_DOCUMENT_FORMATTING, _format, None),
    (lsp.TEXT_DOCUMENT_RANGE_FORMATTING, _format_range, None),
    (lsp.TEXT_DOCUMENT_CODE_ACTION, _fixes, lsp.CodeActionOptions(code_action_kinds=[lsp.CodeActionKind.QuickFix])),
    (lsp.TEXT_DOCUMENT_DOCUMENT_SYMBOL, _symbols, None),
    (lsp.TEXT_DOCUMENT_SEMANTIC_TOKENS_FULL, _tokens, lsp.SemanticTokensLegend(LEGEND, MODIFIERS)),
    (lsp.TEXT_DOCUMENT_SEMANTIC_TOKENS_RANGE, _range_tokens, lsp.SemanticTokensLegend(LEGEND, MODIFIERS)),
    (lsp.TEXT_DOCUMENT_INLAY_HINT, _hints, None),
]  # fmt: skip


def make_server() -> Server:
    """A server that is ready to start."""
    server = Server()
    gc.disable()  # it would take a tenth of a second of an answer; `_collect` runs when nothing is typed
    # a file that is opened is read in a thread; what an editor asks meanwhile waits no longer than this for its turn
    sys.setswitchinterval(0.001)
    for feature, handler, options in REQUESTS:
        server.feature(feature, options)(_bound(server, _guarded(handler)))

    @server.feature(lsp.INITIALIZED)
    def initialized(params: lsp.InitializedParams) -> None:
        """What the first answers would wait for."""
        asyncio.get_running_loop().run_in_executor(server.background, server.finder.start)
        parser(), torch_classes()

    @server.feature(lsp.TEXT_DOCUMENT_DID_OPEN)
    def opened(params: lsp.DidOpenTextDocumentParams) -> None:
        item = params.text_document
        document = server.open(item.uri, item.text, item.version)
        server.check(document, 0)
        document.reading = asyncio.get_running_loop().create_task(_read_ahead(document))

    @server.feature(lsp.TEXT_DOCUMENT_DID_CHANGE)
    def changed(params: lsp.DidChangeTextDocumentParams) -> None:
        document = server.change(params)
        if document is not None:
            server.check(document, PAUSE)

    @server.feature(lsp.TEXT_DOCUMENT_DID_SAVE)
    def saved(params: lsp.DidSaveTextDocumentParams) -> None:
        for document in server.documents.values():  # another file may use this one
            server.check(document, 0)

    @server.feature(lsp.SHUTDOWN)
    def shut_down(params: None) -> None:
        server.finder.close()

    @server.feature(lsp.TEXT_DOCUMENT_DID_CLOSE)
    def closed(params: lsp.DidCloseTextDocumentParams) -> None:
        server.forget(params.text_document.uri)

    return server


def _bound(server: Server, handler: Callable[[Server, Any], T]) -> Callable[[Any], T]:
    def bound(params: Any) -> T:
        return handler(server, params)

    bound.__name__ = handler.__name__
    return bound
