"""The two sides of a comparison: rules and a model each, from files, saved plans or git revisions."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from initdsl.api.plan import Plan, plan, with_live
from initdsl.comparing.revisions import (
    Revision,
    RevisionError,
    check_revision,
    files_at,
    read_at,
    revision_of,
    rules_at,
)
from initdsl.linter.files import find_files
from initdsl.network.description import Network
from initdsl.network.manifest import LARGEST
from initdsl.planning.saved import SavedPlan, read_plan
from initdsl.text.diagnostic import Diagnostic

from .console import fail, reported, show
from .model import load_model, network_of, settings_manifest
from .trust import model_of_settings, refuse_untrusted, settings_of

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Side", "files_with_network", "named_side", "plans_of", "sides_since"]


@dataclass(frozen=True)
class Side:
    """What one side of a comparison is made of: `Side("main:net.init", None, "main:net.json")`.

    `rules` is a rule file, a saved plan or `REV:path`; None stands for no rules at all. `manifest` may be `REV:path`
    too. One of `model` and `manifest` says which model.
    """

    rules: str | None
    model: str | None
    manifest: str | None

    @property
    def network_name(self) -> tuple[str | None, str | None]:
        """What says which model it is: sides with one name share it."""
        return self.model, self.manifest


def named_side(rules: str, model: str | None, manifest: str | None, trust: bool | None) -> Side:
    """Return the side of a rule file whose model options name, or else its settings; exit with 2 where none does."""
    if model is None and manifest is None:
        config = settings_of(rules)
        model = model_of_settings(None, trust, lambda: config)
        manifest = None if model is not None else settings_manifest(config, rules)
        if manifest is None and model is None:
            refuse_untrusted(trust, config, "give `--model` or `--manifest`")
    return Side(rules, model, manifest)


def plans_of(
    old: Side, new: Side, arguments: tuple[Mapping[str, Any], Mapping[str, Any]], runs: bool
) -> tuple[Plan, Plan]:
    """Return the plans of both sides; exit with 2 where one can't be made. `runs`: models are there to be run.

    A seed that a saved plan has holds for the other side too, unless one is given.
    """
    before = _network(old, runs)
    after = before if old.network_name == new.network_name else _network(new, runs)
    saved = [_saved(side) for side in (old, new)]
    seeds = [one.options["seed"] for one in saved if one is not None]
    seed = next((seed for seed in seeds if seed is not None), None)
    both = [{**each, "seed": seed if each.get("seed") is None else each["seed"]} for each in arguments]
    first = _plan(old, saved[0], before, both[0])
    return first, _plan(new, saved[1], after, both[1])


def _network(side: Side, runs: bool) -> nn.Module | Network:
    """Return the model of one side; exit with 2 where none is named, or two are."""
    revision = revision_of(side.manifest) if side.manifest is not None else None
    if side.model is None and revision is not None:
        return _manifest_at(revision)
    if runs and side.model is not None and side.manifest is None:
        return load_model(side.model, meta=False)
    return network_of(side.model, side.manifest, side.rules or "", None)


def _manifest_at(revision: Revision) -> Network:
    data = reported(lambda: read_at(revision, LARGEST))
    try:
        return Network.from_manifest(json.loads(data))
    except (ValueError, RecursionError) as error:
        fail(f"can't read the manifest `{revision}`: {str(error).lower()}")


def _saved(side: Side) -> SavedPlan | None:
    if side.rules is None or revision_of(side.rules) is not None or not side.rules.endswith(".json"):
        return None
    path = side.rules
    return reported(lambda: read_plan(path))


def _plan(side: Side, saved: SavedPlan | None, net: nn.Module | Network, arguments: Mapping[str, Any]) -> Plan:
    rules = side.rules
    if saved is not None:
        return reported(lambda: with_live(*saved.again(net)))
    if rules is None:
        return reported(lambda: plan(net, "", **{**arguments, "vars": None}))
    revision = revision_of(rules)
    if revision is not None:
        return reported(lambda: plan(net, rules_at(revision, arguments.get("root")), **arguments))
    return reported(lambda: plan(net, Path(rules), **arguments))


# ---- the rule files of the working tree


def files_with_network(trust: bool | None) -> dict[str, Side]:
    """Return the rule files of the working folder that have a model in the settings, in their order.

    Exits with 2 where the settings can't be right, or name no model but a model that may not run.
    """
    refused: list[Diagnostic] = []
    files = {os.path.relpath(path): None for path in reported(lambda: find_files(["."], refused))}
    if refused:
        show(refused)
        raise SystemExit(2)
    sides = {path: _side_of_settings(path, trust) for path in files}
    named = {path: side for path, side in sides.items() if side is not None}
    if not named:
        for path in files:
            refuse_untrusted(trust, settings_of(path), "name its `manifest` in the settings")
        what = "no rule file has a model in the settings" if files else "there are no rule files here"
        fail(what, 'name one in `pyproject.toml`, as in `manifest = "model.json"` below `[tool.initdsl]`')
    left = [path for path in files if path not in named]
    if left:
        names = ", ".join(f"`{path}`" for path in left[:3]) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
        click.echo(f"note: no model in the settings for {names}", err=True)
    return named


def _side_of_settings(path: str, trust: bool | None) -> Side | None:
    config = settings_of(path)
    model = model_of_settings(None, trust, lambda: config)
    manifest = None if model is not None else settings_manifest(config, path)
    if model is None and manifest is None:
        return None
    return Side(path, model, None if manifest is None else os.path.relpath(manifest))


def sides_since(revision: str, trust: bool | None) -> dict[str, tuple[Side, Side]]:
    """Return, for each rule file that has a model in the settings, what it was at a revision and what it is now.

    A file that is new has no rules before, one that is gone none after. The model is that of the manifest, as it was
    and as it is; a model is that of the working tree for both, as no code is checked out.
    """
    reported(lambda: check_revision(revision))
    now = files_with_network(trust)
    then = set(reported(lambda: files_at(revision, ".init")))
    pairs = {}
    for path, side in now.items():
        old = f"{revision}:{path}" if path in then else None
        pairs[path] = (Side(old, side.model, _manifest_then(revision, side.manifest)), side)
    for path in sorted(then - now.keys()):
        gone = None if os.path.exists(path) else _side_of_settings(path, trust)
        if gone is not None:
            old_manifest = _manifest_then(revision, gone.manifest)
            pairs[path] = (Side(f"{revision}:{path}", gone.model, old_manifest), Side(None, gone.model, gone.manifest))
    return pairs


def _manifest_then(revision: str, manifest: str | None) -> str | None:
    """Return a manifest as a revision has it; as it is now where the revision has none."""
    if manifest is None:
        return None
    then = Revision(revision, manifest)
    try:
        read_at(then, LARGEST)
    except RevisionError as error:
        click.echo(f"note: {error}: the model is that of now", err=True)
        return manifest
    return str(then)
