"""`initdsl lock`: what rules start a model as, written down; and what drifted since."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import click

from initdsl.api.plan import Plan, plan
from initdsl.comparing.lock import Drift, Lock, drift_of, groups_of, lock_of
from initdsl.comparing.lock_file import LockError, read_lock, written_lock
from initdsl.linter.files import find_files
from initdsl.text.failures import reason
from initdsl.text.files import read_whole, write_whole
from initdsl.text.places import lies_in

from .console import fail, reported
from .model import load_model, network_of
from .options import RuleOptions, manifest_option, rule_options
from .sides import Side, files_with_network, named_side
from .trust import settings_of

SUFFIX = ".lock"


LARGEST = 64 << 20  # bytes of a file


# statuses of tensors whose values no seed of ours decides
UNDECIDED = ("uncovered", "partial", "kept")


@dataclass(frozen=True)
class Request:
    """What a run is about: the options, and whether values are hashed too."""

    options: RuleOptions
    manifest: str | None
    values: bool


@click.command("lock")
@click.argument("files", nargs=-1, type=click.Path())
@rule_options(strict=False)
@manifest_option()
@click.option("--values", is_flag=True, help="Lock the values of the seed too; needs `--model`.")
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if the start differs from the lock.")
@click.option("-q", "--quiet", is_flag=True, help="Print only what drifted.")
def command(
    files: tuple[str, ...],
    options: RuleOptions,
    manifest: str | None,
    values: bool,
    check: bool,
    quiet: bool,
) -> None:
    """Write down in `FILE.lock` how the rule files FILES start their models, or check that they still do.

    Without FILES, these are the rule files of the working folder that have a model in the settings, or with --check all
    that have a lock. The model is that of --model or --manifest, of the settings, or of the manifest that the lock names.
    If there is a lock, its seed and its --set are taken, unless you give others.
    """
    request = Request(options, manifest, values)
    if options.model is not None and manifest is not None:
        fail("one of `--model` and `--manifest` says which model")
    if check:
        named = list(files) or _locked_files()
        drifted = [_checked(path, request, quiet) for path in named]
        raise SystemExit(1 if any(drifted) else 0)
    sides: Mapping[str, Side | None] = dict.fromkeys(files) if files else files_with_network(options.trust)
    for path, named_by_settings in sides.items():
        before = _read(path) if os.path.exists(path + SUFFIX) else None
        side = named_by_settings or _side(path, request, before)
        lock = _made(path, side, request, before)
        reported(partial(write_whole, path + SUFFIX, written_lock(lock).encode()))
        if not quiet:
            click.echo(f"wrote {path}{SUFFIX}: {len(lock.plan)} groups of parameters")


def _locked_files() -> list[str]:
    """Return the rule files of the working folder that have a lock; exit with 2 where there is none."""
    files = [path for path in reported(lambda: find_files(["."])) if os.path.exists(path + SUFFIX)]
    if not files:
        fail("there are no locks here", "`initdsl lock model.init` writes one")
    return files


def _checked(path: str, request: Request, quiet: bool) -> bool:
    """Say what is otherwise than the lock of a rule file says; return whether anything drifted."""
    if not os.path.exists(path + SUFFIX):
        fail(f"there is no lock `{path}{SUFFIX}`", f"`initdsl lock {path}` writes one")
    locked = _read(path)
    now = _made(path, _side(path, request, locked), request, locked)
    drift = drift_of(locked, now)
    if drift:
        click.echo(f"{path}{SUFFIX}: drifted\n" + _lines(drift))
        return True
    if not quiet:
        unseen = "; its values were not made: that needs `--model`" if locked.values and not now.values else ""
        click.echo(f"{path}{SUFFIX}: the start is as it was locked{unseen}")
        for note in drift.notes:
            click.echo(f"  note: {note}")
    return False


# lines of a drift that are shown
MOST = 40


def _lines(drift: Drift) -> str:
    shown = [f"  why   {cause}" for cause in drift.causes[:MOST]] + [
        f"  what  {change}" for change in drift.changes[:MOST]
    ]
    left = len(drift.changes) - MOST
    return "\n".join([*shown, *([f"  and {left} more"] if left > 0 else [])])


def _read(path: str) -> Lock:
    name = path + SUFFIX
    try:
        return read_lock(read_whole(name, LARGEST))
    except OSError as error:
        fail(f"can't read `{name}`: {reason(error)}")
    except LockError as error:
        fail(f"`{name}` can't be read as a lock: {error}", f"remove it, and write it anew: `initdsl lock {path}`")


def _side(path: str, request: Request, locked: Lock | None) -> Side:
    """Return a rule file with its model: of the options, of the settings, or of the manifest that its lock names."""
    model, manifest = request.options.model, request.manifest
    config = settings_of(path)
    by_settings = request.options.trust or config.manifest_of(path) is not None
    if model is None and manifest is None and not by_settings and locked is not None and locked.manifest is not None:
        folder = os.path.dirname(os.path.abspath(path))
        manifest = os.path.join(folder, locked.manifest)
        in_project = (config.folder / "pyproject.toml").is_file() and config.holds(manifest)
        if not (lies_in(manifest, folder) or in_project):
            fail(f"the manifest `{locked.manifest}` of the lock lies outside the folder", "give it as `--manifest`")
    return named_side(path, model, manifest, request.options.trust)


def _made(path: str, side: Side, request: Request, before: Lock | None) -> Lock:
    """Return the lock of a rule file as things are; seed and settings are those of `before`, unless they are given."""
    options = request.options
    folder = os.path.dirname(os.path.abspath(path))
    settings = _settings(options.settings) or dict(before.settings if before else {})
    seed = options.seed if options.seed is not None else before.seed if before else None
    chosen = replace(options, settings=tuple(f"{name}={text}" for name, text in settings.items()), seed=seed)
    wanted = request.values or bool(before and before.values)
    if request.values and side.model is None:
        fail("values are made by the model", "give `--model`")
    if request.values and seed is None:
        fail("values are those of a seed", "give `--seed`")
    if wanted and side.model is not None and seed is not None:
        planned, values = _filled(path, side.model, chosen)
    else:
        net = network_of(side.model, side.manifest, path, options.trust)
        planned, values = reported(lambda: plan(net, Path(path), **chosen.arguments())), None
    manifest = None if side.manifest is None else os.path.relpath(side.manifest, folder).replace(os.sep, "/")
    return lock_of(planned, folder, settings, manifest, values)


def _settings(texts: tuple[str, ...]) -> dict[str, str]:
    pairs = (text.partition("=") for text in texts)
    return {name.strip(): text.strip() for name, _, text in pairs}


def _filled(path: str, model: str, options: RuleOptions) -> tuple[Plan, Mapping[str, str]]:
    """Return the plan, and the SHA-256 of the values of every group of parameters under the seed."""
    from initdsl.filling.digest import bytes_of

    net = load_model(model, meta=False)
    planned = reported(lambda: plan(net, Path(path), **options.arguments()))
    reported(planned.apply)
    tensors = {**dict(net.named_parameters(remove_duplicate=False)), **dict(net.named_buffers(remove_duplicate=False))}
    values = {}
    for name, _, members in groups_of(planned):
        if members[0].status in UNDECIDED:
            continue
        digest = hashlib.sha256()
        for entry in members:
            tensor = tensors.get(entry.name)
            if tensor is not None:
                digest.update(bytes_of(tensor))
        values[name] = digest.hexdigest()
    return planned, values
