"""What the commands say, and where: colour, findings on a stream, errors as exit codes, files written, a progress bar."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, NoReturn, TypeVar

import click

from initdsl.text.diagnostic import (
    Diagnostic,
    EmptiedModelWarning,
    InitDSLError,
    OverruledRuleWarning,
    RedrawnParameterWarning,
    UncoveredParameterWarning,
    UnmatchedRuleWarning,
)
from initdsl.text.failures import reason
from initdsl.text.files import write_whole

__all__ = ["coloured", "fail", "progress", "refuse_unless_rule_file", "reported", "show", "working", "write_or_print"]


T = TypeVar("T")


# warnings that stand in the table which the command prints
IN_THE_TABLE = (
    UnmatchedRuleWarning,
    UncoveredParameterWarning,
    OverruledRuleWarning,
    RedrawnParameterWarning,
    EmptiedModelWarning,
)


def coloured(file: IO[str]) -> bool:
    """Tell whether to write colours: only on a terminal, and never under `NO_COLOR`."""
    return "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb" and file.isatty()


def show(diagnostics: Iterable[Diagnostic], file: IO[str] | None = None) -> None:
    """Print findings, a blank line between them."""
    stream = file or sys.stdout
    click.echo("\n\n".join(d.render(coloured(stream)) for d in diagnostics), file=stream, color=coloured(stream))


def fail(message: str, hint: str | None = None) -> NoReturn:
    """Say on standard error why the command could not run, and exit with 2."""
    show([Diagnostic("usage", message, hint=hint)], file=sys.stderr)
    raise SystemExit(2)


def reported(work: Callable[[], T]) -> T:
    """Return what `work` returns; its errors and warnings become findings on standard error, and errors exit code 2."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = work()
        except InitDSLError as error:
            show(error.diagnostics, file=sys.stderr)
            raise SystemExit(2) from None
        except KeyError as error:
            fail(str(error.args[0]))
        except OSError as error:
            fail(f"can't read `{error.filename}`: {reason(error)}" if error.strerror and error.filename else str(error))
        except (ValueError, TypeError) as error:
            fail(str(error))
        except SystemExit as end:
            if end.code not in (None, 0):
                raise
            fail("code of the model's own ended the program: it called `sys.exit`")
        except RecursionError:
            fail("the model is nested too deeply")
    for warning in caught:
        if not issubclass(warning.category, IN_THE_TABLE):
            show([Diagnostic("warning", str(warning.message), severity="warning")], file=sys.stderr)
    return result


def refuse_unless_rule_file(output: str | None) -> None:
    """Exit with 2 where what is to hold rules is another kind of file."""
    if output is not None and not output.endswith(".init"):
        fail(f"`{output}` is not an .init file", "write `-o model.init`")


def write_or_print(text: str, output: str | None) -> None:
    """Write a text to a file, or to standard output where there is none."""
    if output is None:
        click.echo(text, nl=False)
    else:
        reported(lambda: write_whole(output, text.encode()))


@contextmanager
def working(activity: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show what is being done and how far it is on standard error, where that is a terminal.

    Yields the function that says so, which takes what is being done, how much of that is done, and how much there is.
    """
    if not sys.stderr.isatty():
        yield lambda doing, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(activity, total=None)
        yield lambda doing, done, total: bar.update(task, description=doing, completed=done, total=total)


@contextmanager
def progress(activity: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar with rate and time left on standard error, where that is a terminal.

    Yields the function that moves it, which takes the bytes done and those in all.
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn(activity), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(activity, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
