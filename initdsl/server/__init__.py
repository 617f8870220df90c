"""The language server: what editors ask about rule files. The only code that knows LSP, and of it only `protocol`.

    text        lines and columns as editors count them
    pieces      a text cut into statements, each read once however often it is asked about
    outline     what is declared where: `let`, symbols, rename
    known       what names there are: initializers, classes, the network of a manifest
    completion  what can be typed at a place
    hover       what stands at a place, where it comes from, how much a selector selects
    findings    what is wrong
    finder      the process that looks for it
    protocol    all of it put to an editor

Everything but `protocol` is functions of a text and an offset. Nothing here imports torch.
"""

from __future__ import annotations

__all__ = ["serve"]


def serve() -> None:
    """Speak LSP on standard input and output until the editor leaves."""
    from .protocol import make_server

    make_server().start_io()
