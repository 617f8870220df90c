"""Documents as an editor has them open."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from urllib.request import pathname2url, url2pathname

from lsprotocol import types as lsp

from initdsl.formatter.entries import LaidOut
from initdsl.text.diagnostic import Diagnostic
from initdsl.text.source import Span

from .known import Known, known_at
from .outline import Outline, OutlineCache, outline_of
from .pieces import Pieces, pieces_of
from .text import Text

__all__ = ["Document", "diagnostic_of", "markdown", "path_of", "range_of", "uri_of"]


SEVERITIES = {
    "error": lsp.DiagnosticSeverity.Error,
    "warning": lsp.DiagnosticSeverity.Warning,
    "note": lsp.DiagnosticSeverity.Information,
}


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
    cache: OutlineCache = field(default_factory=OutlineCache)
    _pieces: Pieces | None = None
    _outline: Outline | None = None

    def __post_init__(self) -> None:
        self.text = _without_bom(self.typed)

    @property
    def outline(self) -> Outline:
        """The outline of the text, made when it is asked for first."""
        if self._outline is None:
            self._outline = outline_of(self.pieces, self.cache)
        return self._outline

    @property
    def pieces(self) -> Pieces:
        """The pieces of the text, cut when they are asked for first."""
        if self._pieces is None:
            self._pieces = pieces_of(self.text.text, self.cache.pieces)
        return self._pieces

    @property
    def is_read(self) -> bool:
        """Whether the pieces of the text are there."""
        return self._pieces is not None

    def become(self, typed: Text, version: int | None) -> None:
        """Take over a change."""
        self.typed, self.text, self.version = typed, _without_bom(typed), version
        self._pieces = self._outline = None

    @property
    def known(self) -> Known:
        return known_at(self.path)

    def range(self, span: Span) -> lsp.Range:
        return range_of(self.text, span)

    def offset(self, position: lsp.Position) -> int:
        return self.text.offset(position.line, position.character)

    def span(self, range_: lsp.Range) -> Span:
        return Span(self.offset(range_.start), self.offset(range_.end))


def range_of(text: Text, span: Span) -> lsp.Range:
    start, end = text.place(span.start), text.place(span.end)
    return lsp.Range(lsp.Position(*start), lsp.Position(*end))


def _without_bom(text: Text) -> Text:
    """A text whose byte order mark is a blank, so that every place stays where it is."""
    return Text(f" {text.text[1:]}", text.unit) if text.text.startswith("\ufeff") else text


def path_of(uri: str) -> str:
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return url2pathname(parts.path)
    return os.path.join(os.getcwd(), os.path.basename(parts.path) or "untitled.init")


def uri_of(path: str) -> str:
    return "file://" + pathname2url(os.path.abspath(path))


def diagnostic_of(document: Document, finding: Diagnostic) -> lsp.Diagnostic:
    span = finding.span or Span(0, 0)
    message = f"{finding.message}\n{finding.hint}" if finding.hint else finding.message
    related = [
        lsp.DiagnosticRelatedInformation(lsp.Location(document.uri, document.range(label.span)), label.text)
        for label in finding.labels
        if finding.source is not None and label.source.name == finding.source.name
    ]
    unused = [lsp.DiagnosticTag.Unnecessary] if finding.name.startswith("unused-") else None
    return lsp.Diagnostic(
        document.range(span),
        message,
        severity=SEVERITIES[finding.severity],
        code=finding.name,
        source="initdsl",
        related_information=related or None,
        tags=unused,
    )


def markdown(text: str) -> lsp.MarkupContent:
    return lsp.MarkupContent(lsp.MarkupKind.Markdown, text)
