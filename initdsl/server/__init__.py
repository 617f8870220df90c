"""The language server: what editors ask about rule files. The only code that knows LSP, and of it only the last four.

    text        lines and columns as editors count them
    colours     the tokens of a text that need not parse
    pieces      a text as the statements and heads of blocks that the parser reads one by one
    outline     what is declared where: `let`, symbols, rename
    known       what names there are: initializers, classes, the model of a manifest
    calls       the brackets and the call around a place
    words       what the reserved words say
    completion  what can be typed at a place
    hover       what stands at a place, where it comes from, how much a selector selects
    findings    what is wrong
    finder      the process that looks for it
    documents   what an editor has open
    session     the server: its documents, and what it publishes about them
    requests    what an editor asks
    protocol    all of it put to an editor

Up to `findings` all are functions of an outline and an offset. Nothing here imports torch.
"""

from __future__ import annotations

__all__ = ["serve"]


def serve() -> None:
    """Speak LSP on standard input and output until the editor leaves."""
    from .protocol import make_server

    make_server().start_io()
