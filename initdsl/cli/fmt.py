"""`initdsl fmt`: rule files in the one canonical layout."""

from __future__ import annotations

import difflib
import os
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import click

from initdsl.formatter.layout import format_source
from initdsl.language.syntax.state import DEFAULT_LIMITS
from initdsl.linter.config import LARGEST, matches
from initdsl.linter.files import leaving, rule_files
from initdsl.text.diagnostic import Diagnostic, ParseError, printable
from initdsl.text.files import read_whole, write_whole
from initdsl.text.places import is_shown, leads_out, withheld
from initdsl.text.source import Source, decode, read_source

from .console import coloured, show

BOM = b"\xef\xbb\xbf"


COLOURS = {"+": "green", "-": "red", "@": "cyan"}


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of a file, or of a folder that can't be read: `changed` (or it would be), `unchanged`, `excluded`,
    or what is wrong with it."""

    status: Literal["changed", "unchanged", "excluded", "failed"]
    problems: tuple[Diagnostic, ...] = ()


@click.command("fmt", help="Format rule files in the one canonical layout; comments stay.")
@click.argument("paths", nargs=-1, type=click.Path())
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if a file would change.")
@click.option("--diff", is_flag=True, help="Write nothing; print what would change.")
def command(paths: tuple[str, ...], check: bool, diff: bool) -> None:
    """Format files, folders (their `*.init`), or `-` for standard input to standard output; by default the working folder.

    Exit code 1 tells of a difference under `--check` or `--diff`, 2 of a file that could not be formatted; the
    other files still are.
    """
    if "-" in paths:
        if len(paths) > 1:
            raise click.UsageError("`-` stands alone")
        sys.exit(_standard_input(check, diff))
    outcomes = list(_outcomes(paths or (".",), check, diff))
    problems = list(dict.fromkeys(problem for outcome in outcomes for problem in outcome.problems))
    counts = Counter(outcome.status for outcome in outcomes)
    if problems:
        show(problems, file=sys.stderr)
    done = "would be reformatted" if check or diff else "reformatted"
    said = [(counts["changed"], done), (counts["unchanged"], "already formatted"), (counts["excluded"], "excluded")]
    summary = ", ".join(f"{count} {'file' if count == 1 else 'files'} {text}" for count, text in said if count)
    if summary or not problems:
        click.echo(summary or "no rule files", err=True)
    sys.exit(2 if problems else int(counts["changed"] > 0 and (check or diff)))


def _outcomes(paths: tuple[str, ...], check: bool, diff: bool) -> Iterator[_Outcome]:
    """Format the rule files that paths name, each once, without those that `exclude` in pyproject.toml names."""
    seen: set[str] = set()
    for path in paths:
        problems: list[Diagnostic] = []
        is_folder = os.path.isdir(path)
        for file in rule_files(path, problems, lambda folder: False) if is_folder else [path]:
            real = os.path.realpath(file)
            if real in seen:
                continue
            seen.add(real)
            project = _project(Path(os.path.abspath(file)).parent)
            if project.problem is not None:
                yield _Outcome("failed", (project.problem,))
            out = leaving(file, path) if is_folder else None
            if project.excludes(file):
                yield _Outcome("excluded")
            elif out is not None:
                yield _Outcome("failed", (out,))
            else:
                yield _format(file, check, diff)
        if problems:
            yield _Outcome("failed", tuple(problems))


# ---- one file


def _format(path: str, check: bool, diff: bool) -> _Outcome:
    """Format a file in place, or tell what that would change. A file that is formatted is not touched."""
    source = read_source(path, DEFAULT_LIMITS.file_bytes)
    if isinstance(source, tuple):
        return _Outcome("failed", (Diagnostic(*source),))
    formatted = _formatted(source)
    if isinstance(formatted, list):
        return _Outcome("failed", tuple(withheld(path, formatted)))
    try:
        mark = BOM if _begins_with_bom(path) else b""
        if formatted == source.text and not mark:
            return _Outcome("unchanged")
        if leads_out(path) or (diff and not is_shown(path)):
            message = f"`{path}` is a link to `{os.path.realpath(path)}`; that is not touched through it"
            return _Outcome("failed", (Diagnostic("unwritable-file", message, hint="name the file that it leads to"),))
        if not (check or diff):
            write_whole(path, formatted.encode(), was=mark + source.text.encode())
    except OSError as error:
        return _Outcome("failed", (Diagnostic("unwritable-file", str(error)),))
    if diff:
        _print_diff(path, source.text, formatted)
    elif check:
        click.echo(f"would reformat {printable(path)}")
    return _Outcome("changed")


def _formatted(source: Source) -> str | list[Diagnostic]:
    """Return the text in its canonical layout, or why there is none."""
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
    """Format standard input to standard output, or tell what that would change; return the exit code."""
    data = sys.stdin.buffer.read(DEFAULT_LIMITS.file_bytes + len(BOM) + 1)
    source = decode("<stdin>", data)
    if isinstance(source, tuple):
        show([Diagnostic(*source)], file=sys.stderr)
        return 2
    formatted = _formatted(source)
    if isinstance(formatted, list):
        show(formatted, file=sys.stderr)
        return 2
    if not (check or diff):
        sys.stdout.buffer.write(formatted.encode())
        sys.stdout.buffer.flush()
        return 0
    if diff:
        _print_diff(source.name, source.text, formatted)
    return int(formatted.encode() != data)


def _print_diff(path: str, text: str, formatted: str) -> None:
    name, colour = printable(path), coloured(sys.stdout)
    for line in difflib.unified_diff(text.splitlines(True), formatted.splitlines(True), name, name):
        shown = line.rstrip("\r\n")
        paint = COLOURS.get(shown[:1]) if colour else None
        click.echo(click.style(shown, fg=paint) if paint else shown, color=colour)
        if not line.endswith("\n"):
            click.echo("\\ No newline at end of file")


# ---- which files


@dataclass(frozen=True, slots=True)
class _Project:
    """What the nearest pyproject.toml with a `[tool.initdsl]` excludes, as in `third_party`, or what is wrong with it."""

    folder: Path | None = None
    patterns: tuple[str, ...] = ()
    problem: Diagnostic | None = None

    def excludes(self, path: str) -> bool:
        """Whether a file is not to be formatted."""
        if self.folder is None:
            return False
        relative = Path(os.path.abspath(path)).relative_to(self.folder).as_posix()
        return any(matches(relative, pattern) for pattern in self.patterns)


@cache
def _project(folder: Path) -> _Project:
    # `linter.config` has all settings, and refuses a file with a wrong one: that is no reason not to format
    for place in (folder, *folder.parents):
        file = place / "pyproject.toml"
        try:
            table = tomllib.loads(read_whole(file, LARGEST).decode("utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError, RecursionError) as error:
            return _Project(problem=Diagnostic("bad-configuration", f"can't read `{file}`: {str(error).lower()}"))
        tool = table.get("tool", {})
        settings = tool.get("initdsl") if isinstance(tool, dict) else None
        if settings is None:
            continue
        patterns = settings.get("exclude", []) if isinstance(settings, dict) else None
        if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
            message, hint = f"`exclude` in `{file}` is not a list of strings", 'as in `exclude = ["third_party"]`'
            return _Project(problem=Diagnostic("bad-configuration", message, hint=hint))
        return _Project(place, tuple(patterns))
    return _Project()
