"""What the server has not foreseen: no answer, or one finding, and one line in the log; the next question is answered."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

pytest.importorskip("pygls")
from lsprotocol import types as lsp

from initdsl.server.documents import Document
from initdsl.server.protocol import _bound, _told
from initdsl.server.requests import REQUESTS
from initdsl.server.session import Server
from initdsl.server.text import Text

URI = "file:///x.init"


def asked() -> Any:
    return lsp.DocumentFormattingParams(lsp.TextDocumentIdentifier(URI), lsp.FormattingOptions(2, True))


def broken(*arguments: Any) -> Any:
    raise AssertionError("one\ntwo")


@pytest.mark.parametrize("feature", [feature for feature, _, _ in REQUESTS])
def test_a_request_that_breaks_is_a_line_in_the_log(
    feature: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    handler = next(handler for name, handler, _ in REQUESTS if name == feature)
    server = Server()
    server.documents[URI] = Document(URI, "/x.init", Text("Linear.weight = 1\n", "utf-16"), 1)
    # whatever the handler calls first fails: none of what it asks of a document or of the other modules is there
    for name in ("outline", "text", "checked", "pieces"):
        monkeypatch.setattr(Document, name, property(broken), raising=False)
    assert _bound(server, handler)(asked()) is None
    (record,) = caplog.records
    assert record.exc_info is None
    assert "\n" not in record.getMessage()
    assert "report this line" in record.getMessage()


def test_a_notification_that_breaks_is_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    _told(broken)(None)
    (record,) = caplog.records
    assert record.exc_info is None
    assert "AssertionError in test_unforeseen.py" in record.getMessage()


def test_findings_that_break_are_one_finding(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    published: list[lsp.PublishDiagnosticsParams] = []
    server = Server()
    monkeypatch.setattr(server, "text_document_publish_diagnostics", published.append)
    monkeypatch.setattr(server, "_findings", broken)
    document = server.documents[URI] = Document(URI, "/x.init", Text("Linear.weight = 1\n", "utf-16"), 1)
    with caplog.at_level(logging.ERROR):
        asyncio.run(server._check(document, 0))
    (params,) = published
    (diagnostic,) = params.diagnostics
    assert diagnostic.code == "internal-error"
    assert "report this line" in diagnostic.message
