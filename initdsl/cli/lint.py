"""`initdsl lint`: findings about rule files."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import click

from initdsl.linter import all_lints, lint_file
from initdsl.linter.against_network import Resolve
from initdsl.linter.config import Config, ConfigError, find_config
from initdsl.linter.formats import FORMATS, written
from initdsl.linter.run import find_files, fixed, folder_of, unknown_names, unreadable, with_names
from initdsl.text.diagnostic import Diagnostic, in_order
from initdsl.text.failures import reason
from initdsl.text.files import read_whole, write_whole
from initdsl.text.wording import did_you_mean

from .console import coloured, fail, show

# below this much text the start of further processes costs more than they save
WORTH_PROCESSES = 200_000


LARGEST = 1 << 20


class Job(NamedTuple):
    """One file to lint, and how."""

    path: str
    select: tuple[str, ...]
    ignore: tuple[str, ...]
    fix: bool
    unsafe: bool
    model: str | None = None
    manifest: str | None = None


class Outcome(NamedTuple):
    """What came of a file: its findings, and how many were fixed."""

    found: list[Diagnostic]
    fixed: int = 0


@click.command("lint")
@click.argument("paths", nargs=-1, metavar="[PATHS]...")
@click.option("--output-format", type=click.Choice(list(FORMATS)), default="text", help="How findings are written.")
@click.option("--select", multiple=True, metavar="NAMES", help="Run these lints alone (commas between names).")
@click.option("--ignore", multiple=True, metavar="NAMES", help="Leave these findings out.")
@click.option(
    "--model", metavar="M:F", help="Lint against this network: package.module:attribute or file.py:attribute."
)
@click.option("--manifest", metavar="FILE", help="Lint against the network this file describes (`initdsl manifest`).")
@click.option("--fix", is_flag=True, help="Make the fixes that leave the plan as it is.")
@click.option("--unsafe-fixes", is_flag=True, help="Make the other fixes too; look at what they did.")
@click.option("--baseline", metavar="FILE", help="Leave out the findings this file records.")
@click.option("--write-baseline", metavar="FILE", help="Record the findings in this file.")
@click.option("--stdin-filename", metavar="NAME", default="<stdin>", help="What the text of `-` is called.")
@click.option("--explain", metavar="NAME", help="Print the documentation of a lint.")
def command(
    paths: tuple[str, ...], output_format: str, select: tuple[str, ...], ignore: tuple[str, ...],
    model: str | None, manifest: str | None, fix: bool, unsafe_fixes: bool, baseline: str | None, write_baseline: str | None, stdin_filename: str, explain: str | None,
) -> None:  # fmt: skip
    """Find what is wrong in rule files: `*.init` in PATHS, by default here; `-` reads standard input.

    Exit code 0 without findings, 1 with some (a syntax error is one), 2 where a file or a setting could not be read.
    """
    if explain is not None:
        click.echo(_explained(explain))
        return
    chosen, left_out = _names(select), _names(ignore)
    _refuse_unknown((*chosen, *left_out))
    fixing = fix or unsafe_fixes
    if model is not None and manifest is not None:
        fail("`--model` and `--manifest` both say which network", "give one of them")
    if "-" in paths and len(paths) > 1:
        fail("`-` stands alone: standard input is one file")
    try:
        if paths == ("-",):
            outcomes = [_standard_input(Job(stdin_filename, chosen, left_out, fixing, unsafe_fixes, model, manifest))]
            fixing_here = fixing
        else:
            files = find_files(paths or (".",))
            if not files:
                click.echo("no `*.init` files here", err=True)
            outcomes = list(
                _run([Job(file, chosen, left_out, fixing, unsafe_fixes, model, manifest) for file in files])
            )
            fixing_here = False
    except ConfigError as error:
        show(error.diagnostics, file=sys.stderr)
        raise SystemExit(2) from None
    found = in_order([one for outcome in outcomes for one in outcome.found])
    broken = [one for one in found if unreadable(one)]
    found = [one for one in found if not unreadable(one)]
    if broken:
        show(broken, file=sys.stderr)
    if write_baseline is not None:
        _write_baseline(write_baseline, found)
        raise SystemExit(2 if broken else 0)
    if baseline is not None:
        found = _without_baseline(baseline, found)
    count = sum(outcome.fixed for outcome in outcomes)
    if count:
        click.echo(f"fixed {count} finding{'s' * (count != 1)}", err=True)
    stream = sys.stderr if fixing_here else sys.stdout
    colour = coloured(stream)
    click.echo(written(found, output_format, colour), file=stream, color=colour, nl=False)
    raise SystemExit(2 if broken else 1 if found else 0)


def _names(given: Iterable[str]) -> tuple[str, ...]:
    return tuple(name.strip() for part in given for name in part.split(",") if name.strip())


def _refuse_unknown(names: Iterable[str], place: str = "") -> None:
    for name in unknown_names(names):
        hint = did_you_mean(name, all_lints()) or "`initdsl list lints` shows them"
        fail(f"no lint is named `{name}`{place}", hint)


def _explained(name: str) -> str:
    _refuse_unknown([name])
    one = all_lints()[name]
    return f"# {name}\n\n{one.doc.rstrip()}"


def _config(path: str, job: Job) -> Config:
    config = find_config(folder_of(path))
    _refuse_unknown(config.names(), f" ({config.folder / 'pyproject.toml'})")
    return with_names(config, job.select, job.ignore)


def _standard_input(job: Job) -> Outcome:
    from initdsl.text.source import decode

    name = job.path
    source = decode(name, sys.stdin.buffer.read(LARGEST + 1))
    if isinstance(source, tuple):
        return Outcome([Diagnostic(*source)])
    config = _config(name, job)
    network = _network(job, config)
    if not job.fix:
        return Outcome(lint_file(name, source.text, config, network))
    done = fixed(name, source.text, config, job.unsafe, network)
    sys.stdout.buffer.write(done.text.encode("utf-8"))
    sys.stdout.buffer.flush()
    return Outcome(done.left, done.count)


def _one(job: Job) -> Outcome:
    config = _config(job.path, job)
    network = _network(job, config)
    if not job.fix:
        return Outcome(lint_file(job.path, config=config, network=network))
    return _fix_file(job, config, network)


def _network(job: Job, config: Config) -> Resolve | None:
    """The network to lint against: what the options name, else the manifest that pyproject.toml names."""
    manifest = config.manifest_of(job.path) if job.model is None and job.manifest is None else job.manifest
    return None if job.model is None and manifest is None else _loaded(job.model, manifest)


@lru_cache(maxsize=8)
def _loaded(model: str | None, manifest: str | None) -> Resolve:
    from initdsl.linter.against_network import against

    from .model import load_model, read_manifest

    return against(load_model(model, meta=True) if model is not None else read_manifest(str(manifest)))


def _fix_file(job: Job, config: Config, network: Resolve | None) -> Outcome:
    from initdsl.text.source import decode

    try:
        before = read_whole(job.path, LARGEST)
    except (OSError, ValueError):
        before = b""
    source = decode(job.path, before)
    if isinstance(source, tuple) or not before:
        return Outcome(lint_file(job.path, config=config, network=network))
    done = fixed(job.path, source.text, config, job.unsafe, network)
    if done.count:
        mark = b"\xef\xbb\xbf" if before.startswith(b"\xef\xbb\xbf") else b""
        try:
            write_whole(job.path, mark + done.text.encode("utf-8"), was=before)
        except OSError as error:
            problem = Diagnostic("unreadable-file", str(error))
            return Outcome([problem, *lint_file(job.path, config=config, network=network)])
    return Outcome(done.left, done.count)


def _run(jobs: Sequence[Job]) -> Iterator[Outcome]:
    """Every job, in several processes where there is enough to read."""
    cores = min(len(jobs), os.cpu_count() or 1, 16)
    if cores > 1 and not any(job.fix or job.model or job.manifest for job in jobs) and _size(jobs) > WORTH_PROCESSES:
        from concurrent.futures import ProcessPoolExecutor

        with ProcessPoolExecutor(cores) as pool:
            yield from pool.map(_one, jobs, chunksize=max(1, len(jobs) // (8 * cores)))
    else:
        yield from map(_one, jobs)


def _size(jobs: Sequence[Job]) -> int:
    total = 0
    for job in jobs:
        try:
            total += os.path.getsize(job.path)
        except (OSError, ValueError):
            continue
    return total


def _write_baseline(path: str, found: Sequence[Diagnostic]) -> None:
    from initdsl.linter.baseline import baseline_text

    try:
        write_whole(path, baseline_text(found, Path(os.path.dirname(os.path.abspath(path)))).encode("utf-8"))
    except OSError as error:
        fail(str(error))
    click.echo(f"recorded {len(found)} finding{'s' * (len(found) != 1)} in {path}", err=True)


def _without_baseline(path: str, found: Sequence[Diagnostic]) -> list[Diagnostic]:
    from initdsl.linter.baseline import BaselineError, read_baseline, without_known

    known: Counter[Any] = Counter()
    try:
        known = read_baseline(Path(path))
    except BaselineError as error:
        fail(str(error), "`--write-baseline` makes one")
    except OSError as error:
        fail(f"can't read `{path}`: {reason(error)}")
    return without_known(found, known, Path(os.path.dirname(os.path.abspath(path))))
