"""What the commands share: colour, diagnostics on a stream, a progress bar."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, NoReturn

import click

from initdsl.text.diagnostic import Diagnostic

__all__ = ["coloured", "fail", "progress", "show"]


def coloured(file: IO[str]) -> bool:
    """Colour only on a terminal, and never under `NO_COLOR`."""
    return "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb" and file.isatty()


def show(diagnostics: Iterable[Diagnostic], file: IO[str] | None = None) -> None:
    """Print findings, a blank line between them."""
    stream = file or sys.stdout
    click.echo("\n\n".join(d.render(coloured(stream)) for d in diagnostics), file=stream, color=coloured(stream))


def fail(message: str, hint: str | None = None) -> NoReturn:
    """Could not run: say why on standard error, exit 2."""
    show([Diagnostic("usage", message, hint=hint)], file=sys.stderr)
    raise SystemExit(2)


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar with rate and time left on standard error, where that is a terminal; yields `tell(bytes done, in all)`."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
