"""`initdsl lsp`: the language server."""

from __future__ import annotations

import signal

import click

from .console import fail


@click.command("lsp")
@click.option("--stdio", is_flag=True, help="Use standard input and output; this is the default.")
def command(stdio: bool) -> None:
    """Serve editors: findings while typing, completion, hover, rename and more, over standard input and output."""
    try:
        from initdsl.server import protocol as _  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name not in ("pygls", "lsprotocol", "cattrs"):
            raise
        fail("the language server needs pygls", 'install it: `pip install "initdsl[lsp]"`')
    from initdsl.server import serve

    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # it writes no file, and its loop is not to be torn up from inside

    serve()
