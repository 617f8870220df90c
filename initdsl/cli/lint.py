"""`initdsl lint`: findings about rule files."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from initdsl.initializers import default_registry
from initdsl.language.syntax.state import DEFAULT_LIMITS
from initdsl.linter import all_lints, lint_file
from initdsl.linter.against_network import Resolve, against
from initdsl.linter.baseline import BaselineError, baseline_text, read_baseline, unrecorded
from initdsl.linter.config import Config, ConfigError, find_config
from initdsl.linter.files import find_files
from initdsl.linter.fixing import Fixed, fix_file, fixed
from initdsl.linter.formats import FORMATS, format_findings
from initdsl.linter.run import is_unreadable
from initdsl.text.diagnostic import Diagnostic, in_order
from initdsl.text.failures import reason
from initdsl.text.files import write_whole
from initdsl.text.places import withheld
from initdsl.text.source import decode
from initdsl.text.wording import did_you_mean

from .console import coloured, fail, show
from .model import load_model, read_manifest, settings_manifest
from .options import import_initializers, import_option
from .trust import model_of_settings, trust_option

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

# below this much text the start of further processes costs more than they save
WORTH_PROCESSES = 200_000


MOST_PROCESSES = 16


# formats in which it is said that nothing was found
READ_BY_PEOPLE = ("text", "concise")


@dataclass(frozen=True, slots=True)
class Job:
    """One file to lint, and how. The model is that of `model` or `manifest`, which options or settings name."""

    path: str
    config: Config
    fix: bool
    unsafe: bool
    model: str | None
    manifest: str | None


@click.command("lint")
@click.argument("paths", nargs=-1, metavar="[PATHS]...")
@click.option("--output-format", type=click.Choice(list(FORMATS)), default="text", help="The format of the findings.")
@click.option("--select", multiple=True, metavar="NAMES", help="Run only these lints (commas between names).")
@click.option("--ignore", multiple=True, metavar="NAMES", help="Leave these findings out.")
@click.option("--model", metavar="M:F", help="Lint against this model: package.module:attribute or file.py:attribute.")
@trust_option()
@import_option()
@click.option(
    "--manifest", metavar="FILE", help="Lint against the model that this file describes (`initdsl manifest`)."
)
@click.option("--fix", is_flag=True, help="Make the fixes that keep the plan.")
@click.option("--unsafe-fixes", is_flag=True, help="Make the fixes that may change the plan too; look at the result.")
@click.option("--baseline", metavar="FILE", help="Leave out the findings this file records.")
@click.option("--write-baseline", metavar="FILE", help="Record the findings in this file.")
@click.option("--stdin-filename", metavar="NAME", default="<stdin>", help="The name of the text from `-`.")
@click.option("--explain", metavar="NAME", help="Print the documentation of a lint.")
def command(
    paths: tuple[str, ...],
    output_format: str,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    model: str | None,
    trust: bool | None,
    imports: tuple[str, ...],
    manifest: str | None,
    fix: bool,
    unsafe_fixes: bool,
    baseline: str | None,
    write_baseline: str | None,
    stdin_filename: str,
    explain: str | None,
) -> None:
    """Find mistakes in rule files: `*.init` in PATHS, by default in this folder; `-` reads standard input.

    Exit code 0: no findings but notes, 1: findings (a syntax error is one), 2: a file or a setting could not be read.
    """
    if explain is not None:
        click.echo(_explained(explain))
        return
    selected, ignored = _names(select), _names(ignore)
    _refuse_unknown((*selected, *ignored))
    if model is not None and manifest is not None:
        fail("`--model` and `--manifest` both say which model", "give one of them")
    own = _registered_by(imports, trust, paths or (".",))
    if "-" in paths and len(paths) > 1:
        fail("`-` stands alone: standard input is one file")

    def job(path: str) -> Job:
        config = _config(path, selected, ignored)
        config = replace(config, initializers=(*config.initializers, *own))
        named = model if manifest is not None else model_of_settings(model, trust, lambda: config)
        described = settings_manifest(config, path) if named is None and manifest is None else manifest
        return Job(path, config, fix or unsafe_fixes, unsafe_fixes, named, described)

    try:
        # the fixed text of standard input has standard output for itself
        stream = sys.stderr if paths == ("-",) and (fix or unsafe_fixes) else sys.stdout
        if paths == ("-",):
            results = [_standard_input(job(stdin_filename))]
        else:
            refused: list[Diagnostic] = []
            results = [*_run(_jobs(paths or (".",), job, refused)), Fixed("", 0, refused)]
    except ConfigError as error:
        show(error.diagnostics, file=sys.stderr)
        raise SystemExit(2) from None
    findings = in_order([finding for result in results for finding in result.findings])
    unreadable = [finding for finding in findings if is_unreadable(finding)]
    findings = [finding for finding in findings if not is_unreadable(finding)]
    if unreadable:
        show(unreadable, file=sys.stderr)
    if write_baseline is not None:
        _write_baseline(write_baseline, findings)
        raise SystemExit(2 if unreadable else 0)
    if baseline is not None:
        findings = _without_baseline(baseline, findings)
    _print(findings, sum(result.count for result in results), output_format, stream)
    if not (findings or unreadable) and paths != ("-",) and output_format in READ_BY_PEOPLE:
        _say_nothing_found(len(results) - 1, new=baseline is not None)
    raise SystemExit(2 if unreadable else 1 if any(finding.severity != "note" for finding in findings) else 0)


def _print(findings: Sequence[Diagnostic], fixed_count: int, output_format: str, stream: IO[str]) -> None:
    if fixed_count:
        click.echo(f"fixed {fixed_count} finding{'s' * (fixed_count != 1)}", err=True)
    colour = coloured(stream)
    click.echo(format_findings(findings, output_format, colour), file=stream, color=colour, nl=False)


def _say_nothing_found(files: int, new: bool) -> None:
    if files:
        click.echo(f"no {'new ' * new}findings in {files} file{'s' * (files != 1)}", err=True)


def _registered_by(imports: tuple[str, ...], trust: bool | None, paths: Iterable[str]) -> tuple[str, ...]:
    """Return the initializers that are registered by what is to be imported; other processes know them by name."""
    before = set(default_registry())
    import_initializers(imports, trust, [os.path.join(path, "") if os.path.isdir(path) else path for path in paths])
    return tuple(sorted(set(default_registry()) - before))


# ---- which lints, on which files


def _names(lists: Iterable[str]) -> tuple[str, ...]:
    """Return the names in lists with commas."""
    return tuple(name.strip() for names in lists for name in names.split(",") if name.strip())


def _refuse_unknown(names: Iterable[str], place: str = "") -> None:
    for name in sorted(set(names) - set(all_lints())):
        hint = did_you_mean(name, all_lints()) or "`initdsl list lints` shows them"
        fail(f"no lint is named `{name}`{place}", hint)


def _explained(name: str) -> str:
    _refuse_unknown([name])
    return f"# {name}\n\n{all_lints()[name].doc.rstrip()}"


def _config(path: str, selected: tuple[str, ...], ignored: tuple[str, ...]) -> Config:
    """Return the settings of a file: those of pyproject.toml, of which `--select` replaces some and `--ignore` adds some."""
    config = find_config(os.path.dirname(os.path.abspath(path)))
    _refuse_unknown(config.names(), f" ({config.folder / 'pyproject.toml'})")
    return replace(config, select=selected or config.select, ignore=(*config.ignore, *ignored))


def _jobs(paths: Sequence[str], job: Callable[[str], Job], refused: list[Diagnostic]) -> list[Job]:
    files = find_files(paths, refused)
    if not files and not refused:
        click.echo("no `*.init` files here", err=True)
    return [job(file) for file in files]


# ---- linting them


def _standard_input(job: Job) -> Fixed:
    source = decode(job.path, sys.stdin.buffer.read(DEFAULT_LIMITS.file_bytes + 1))
    if isinstance(source, tuple):
        return Fixed("", 0, [Diagnostic(*source)])
    if not job.fix:
        return Fixed(source.text, 0, lint_file(job.path, source.text, job.config, _network(job)))
    result = fixed(job.path, source.text, job.config, job.unsafe, _network(job))
    sys.stdout.buffer.write(result.text.encode("utf-8"))
    sys.stdout.buffer.flush()
    return result


def _one(job: Job) -> Fixed:
    if job.fix:
        result = fix_file(job.path, job.config, job.unsafe, _network(job))
    else:
        result = Fixed("", 0, lint_file(job.path, config=job.config, network=_network(job)))
    return replace(result, findings=withheld(job.path, result.findings))


def _network(job: Job) -> Resolve | None:
    return None if job.model is None and job.manifest is None else _loaded(job.model, job.manifest)


@lru_cache(maxsize=8)
def _loaded(model: str | None, manifest: str | None) -> Resolve:
    return against(load_model(model, meta=True) if model is not None else read_manifest(str(manifest)))


def _run(jobs: Sequence[Job]) -> list[Fixed]:
    """Do every job, in several processes where there is enough to read."""
    cores = min(len(jobs), os.cpu_count() or 1, MOST_PROCESSES)
    alone = any(job.fix or job.model is not None or job.manifest is not None for job in jobs)
    if cores < 2 or alone or _size(jobs) <= WORTH_PROCESSES:
        return list(map(_one, jobs))
    return _shared(jobs, cores)


def _shared(jobs: Sequence[Job], cores: int) -> list[Fixed]:
    """Do every job, here and in as many further processes as there are further cores."""
    from concurrent.futures import ThreadPoolExecutor

    from initdsl.text.companions import Companion

    size = max(1, len(jobs) // (8 * cores))
    waiting = deque(range(0, len(jobs), size))
    results: dict[int, list[Fixed]] = {}

    def work(lint: Callable[[Sequence[Job]], list[Fixed]]) -> None:
        while waiting:
            try:
                start = waiting.popleft()
            except IndexError:  # another thread took the last
                return
            try:
                results[start] = lint(jobs[start : start + size])
            except EOFError:  # the process died; whoever is left does it
                waiting.append(start)
                return

    companions = [Companion(__name__) for _ in range(cores - 1)]
    with ThreadPoolExecutor(cores - 1) as threads:
        try:
            asked = [threads.submit(work, companion.ask) for companion in companions]
            work(_several)
            for future in asked:
                future.result()
            work(_several)
        finally:
            waiting.clear()
            for companion in companions:
                companion.close()
    return [result for start in sorted(results) for result in results[start]]


def _several(jobs: Sequence[Job]) -> list[Fixed]:
    return list(map(_one, jobs))


def serve(pipe: Connection) -> None:
    """Do jobs until the other end of the pipe is closed."""
    while True:
        try:
            (jobs,) = pipe.recv()
            pipe.send(_several(jobs))
        except (EOFError, OSError):
            return


def _size(jobs: Sequence[Job]) -> int:
    total = 0
    for job in jobs:
        try:
            total += os.path.getsize(job.path)
        except (OSError, ValueError):
            continue
    return total


# ---- the baseline


def _write_baseline(path: str, findings: Sequence[Diagnostic]) -> None:
    try:
        write_whole(path, baseline_text(findings, Path(os.path.dirname(os.path.abspath(path)))).encode("utf-8"))
    except OSError as error:
        fail(str(error))
    click.echo(f"recorded {len(findings)} finding{'s' * (len(findings) != 1)} in {path}", err=True)


def _without_baseline(path: str, findings: Sequence[Diagnostic]) -> list[Diagnostic]:
    try:
        recorded = read_baseline(Path(path))
    except BaselineError as error:
        fail(str(error), "`--write-baseline` makes one")
    except OSError as error:
        fail(f"can't read `{path}`: {reason(error)}")
    return unrecorded(findings, recorded, Path(os.path.dirname(os.path.abspath(path))))
