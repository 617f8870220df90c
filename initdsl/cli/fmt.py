"""`initdsl fmt`: rule files in the one canonical layout."""

from __future__ import annotations

import difflib
import os
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import click

from initdsl.formatter.layout import format_source
from initdsl.language.syntax.state import DEFAULT_LIMITS
from initdsl.linter.config import LARGEST
from initdsl.text.diagnostic import Diagnostic, ParseError, printable
from initdsl.text.failures import reason
from initdsl.text.files import read_whole, write_whole
from initdsl.text.source import Source, decode, read_source

from .console import coloured, show

BOM = b"\xef\xbb\xbf"


@dataclass
class _Outcome:
    """What became of the files."""

    changed: int = 0
    unchanged: int = 0
    excluded: int = 0
    problems: list[Diagnostic] = field(default_factory=list)

    def summary(self, written: bool) -> str:
        done = "reformatted" if written else "would be reformatted"
        parts = [(self.changed, done), (self.unchanged, "already formatted"), (self.excluded, "excluded")]
        said = [f"{count} {'file' if count == 1 else 'files'} {what}" for count, what in parts if count]
        return ", ".join(said) or ("" if self.problems else "no rule files")


@click.command("fmt", help="Lay out rule files in the one canonical way; comments stay.")
@click.argument("paths", nargs=-1, type=click.Path())
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if a file would change.")
@click.option("--diff", is_flag=True, help="Write nothing; print what would change.")
def command(paths: tuple[str, ...], check: bool, diff: bool) -> None:
    """Files, folders (their `*.init`), or `-` for standard input to standard output; by default the working folder.

    Exit code 1 tells of a difference under `--check` or `--diff`, 2 of a file that could not be formatted; the
    other files still are.
    """
    if "-" in paths:
        if len(paths) > 1:
            raise click.UsageError("`-` stands alone")
        sys.exit(_standard_input(check, diff))
    outcome = _Outcome()
    for path in _files(paths or (".",), outcome):
        _one(path, check, diff, outcome)
    if outcome.problems:
        show(outcome.problems, file=sys.stderr)
    if summary := outcome.summary(not (check or diff)):
        click.echo(summary, err=True)
    sys.exit(2 if outcome.problems else int(outcome.changed > 0 and (check or diff)))


def _one(path: str, check: bool, diff: bool, outcome: _Outcome) -> None:
    """Format a file in place, or tell what that would change. A file that is formatted is not touched."""
    source = read_source(path, DEFAULT_LIMITS.file_bytes)
    if isinstance(source, tuple):
        outcome.problems.append(Diagnostic(*source))
        return
    formatted = _formatted(source)
    if isinstance(formatted, list):
        outcome.problems += formatted
        return
    try:
        mark = BOM if _begins_with_bom(path) else b""
        if formatted == source.text and not mark:
            outcome.unchanged += 1
            return
        if not (check or diff):
            write_whole(path, formatted.encode(), was=mark + source.text.encode())
    except OSError as error:
        outcome.problems.append(Diagnostic("unwritable-file", str(error)))
        return
    outcome.changed += 1
    if diff:
        _print_diff(path, source.text, formatted)
    elif check:
        click.echo(f"would reformat {printable(path)}")


def _formatted(source: Source) -> str | list[Diagnostic]:
    try:
        return format_source(source)
    except ParseError as error:
        return list(error.diagnostics)
    except AssertionError as error:
        return [Diagnostic("formatter-bug", f"{error}; it was left as it is", source, hint="please report this file")]


def _begins_with_bom(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(len(BOM)) == BOM


def _standard_input(check: bool, diff: bool) -> int:
    data = sys.stdin.buffer.read(DEFAULT_LIMITS.file_bytes + len(BOM) + 1)
    source = decode("<stdin>", data)
    formatted = [Diagnostic(*source)] if isinstance(source, tuple) else _formatted(source)
    if isinstance(source, tuple) or isinstance(formatted, list):
        show(formatted if isinstance(formatted, list) else (), file=sys.stderr)
        return 2
    if not (check or diff):
        sys.stdout.buffer.write(formatted.encode())
        sys.stdout.buffer.flush()
        return 0
    if diff:
        _print_diff(source.name, source.text, formatted)
    return int(formatted.encode() != data)


def _print_diff(name: str, before: str, after: str) -> None:
    name = printable(name)
    lines = difflib.unified_diff(before.splitlines(True), after.splitlines(True), name, name)
    colour = coloured(sys.stdout)
    paint = {"+": "green", "-": "red", "@": "cyan"} if colour else {}
    for line in lines:
        text = line.rstrip("\r\n")
        click.echo(click.style(text, fg=paint[text[0]]) if text[:1] in paint else text, color=colour)
        if not line.endswith("\n"):
            click.echo("\\ No newline at end of file")


# ---- which files


def _files(paths: tuple[str, ...], outcome: _Outcome) -> Iterator[str]:
    """The rule files that paths name, each once, without those that `exclude` in pyproject.toml names."""
    seen: set[str] = set()
    for path in paths:
        for file in _inside(path, outcome) if os.path.isdir(path) else (path,):
            real = os.path.realpath(file)
            if real in seen:
                continue
            seen.add(real)
            if _excluded(file, outcome):
                outcome.excluded += 1
            else:
                yield file


def _inside(folder: str, outcome: _Outcome) -> Iterator[str]:
    def unreadable(error: OSError) -> None:
        outcome.problems.append(Diagnostic("unreadable-file", f"can't read `{error.filename}`: {reason(error)}"))

    for at, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.endswith(".init"):
                yield os.path.normpath(os.path.join(at, name))


def _excluded(path: str, outcome: _Outcome) -> bool:
    project, patterns, problem = _project(Path(os.path.abspath(path)).parent)
    if problem is not None and problem not in outcome.problems:
        outcome.problems.append(problem)
    if project is None:
        return False
    relative = Path(os.path.abspath(path)).relative_to(project)
    places = [relative, *relative.parents][:-1]
    return any(
        fnmatchcase(place.as_posix(), pattern.rstrip("/")) or fnmatchcase(place.name, pattern.rstrip("/"))
        for place in places
        for pattern in patterns
    )


@cache
def _project(folder: Path) -> tuple[Path | None, tuple[str, ...], Diagnostic | None]:
    """The nearest folder whose pyproject.toml has a `[tool.initdsl]`, what that excludes, and what is wrong with it."""
    for place in (folder, *folder.parents):
        file = place / "pyproject.toml"
        try:
            table = tomllib.loads(read_whole(file, LARGEST).decode("utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError, RecursionError) as error:
            return None, (), Diagnostic("bad-configuration", f"can't read `{file}`: {str(error).lower()}")
        options = table.get("tool", {})
        options = options.get("initdsl") if isinstance(options, dict) else None
        if options is None:
            continue
        patterns = options.get("exclude", []) if isinstance(options, dict) else None
        if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
            message = f"`exclude` in `{file}` is not a list of strings"
            return None, (), Diagnostic("bad-configuration", message, hint='as in `exclude = ["third_party"]`')
        return place, tuple(patterns), None
    return None, (), None
