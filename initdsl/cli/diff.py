"""`initdsl diff`: what a change does to the start."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from initdsl.api.diff import diff
from initdsl.api.plan import Plan, plan, with_live
from initdsl.comparing.markdown import diff_markdown
from initdsl.comparing.revisions import read_at, revision_of, rules_at
from initdsl.comparing.text import diff_text
from initdsl.network.description import Network
from initdsl.network.manifest import LARGEST
from initdsl.planning.saved import read_plan

from .console import coloured, fail, reported, write_or_print
from .model import network_of, settings_manifest
from .options import RuleOptions, format_option, manifest_option, output_option, rule_options
from .trust import model_of_settings, settings_of

if TYPE_CHECKING:
    from torch import nn


# the largest comment that code hosts take
LARGEST_COMMENT = 60_000

COLOURS = {
    "drawn": "yellow",
    "set": "yellow",
    "uncovered": "red",
    "covered": "green",
    "added": "green",
    "removed": "red",
}


@click.command("diff")
@click.argument("old")
@click.argument("new")
@rule_options(strict=False)
@manifest_option()
@click.option("--old-model", metavar="M:F", help="The network of OLD, where it is another.")
@click.option("--new-model", metavar="M:F", help="The network of NEW, where it is another.")
@click.option("--old-manifest", help="The same as a description: a file, or REV:path.")
@click.option("--new-manifest", help="The same as a description: a file, or REV:path.")
@format_option("text", "markdown", "json")
@output_option()
def command(
    old: str,
    new: str,
    options: RuleOptions,
    manifest: str | None,
    old_model: str | None,
    new_model: str | None,
    old_manifest: str | None,
    new_manifest: str | None,
    output_format: str,
    output: str | None,
) -> None:
    """Show what NEW does to a network that OLD does not. Exit code 0 no change, 1 changes, 2 could not run.

    OLD and NEW are each a rule file, a plan that `initdsl plan -o plan.json` saved, or REV:path, a file of a git
    revision, with the files it uses and nothing checked out. The network is that of `--model` or `--manifest` for both;
    `--old-model` and the like name another for one of them.
    """
    common = (options.model, manifest)
    sides = [(old, old_model, old_manifest), (new, new_model, new_manifest)]
    named = [_named(*side, common, options.trust) for side in sides]
    before = _network(*named[0], old, options.trust)
    after = before if named[0] == named[1] else _network(*named[1], new, options.trust)
    arguments = options.arguments()
    found = diff(_plan(old, before, arguments), _plan(new, after, arguments))
    if output_format == "json":
        text = json.dumps(found.to_dict(), indent=2) + "\n"
    elif output_format == "markdown":
        text = diff_markdown(found, LARGEST_COMMENT)
    else:
        painted = output is None and coloured(sys.stdout)
        text = (diff_text(found, _painted) if painted else diff_text(found)) + "\n"
    write_or_print(text, output)
    raise SystemExit(1 if found else 0)


Named = tuple[str | None, str | None]


def _named(rules: str, model: str | None, manifest: str | None, common: Named, trust: bool | None) -> Named:
    """Return the model and the manifest that options, or the settings of a rule file, name for one side."""
    if model is None and manifest is None:
        model, manifest = common
    if model is None and manifest is None:
        config = settings_of(rules)
        model = model_of_settings(None, trust, lambda: config)
        manifest = None if model is not None else settings_manifest(config, rules)
    return model, manifest


def _network(model: str | None, manifest: str | None, rules: str, trust: bool | None) -> nn.Module | Network:
    """Return the network of one side; exit with 2 where none is named, or two are."""
    revision = revision_of(manifest) if manifest is not None else None
    if revision is None or model is not None:
        return network_of(model, manifest, rules, trust)
    data = reported(lambda: read_at(revision, LARGEST))
    try:
        return Network.from_manifest(json.loads(data))
    except (ValueError, RecursionError) as error:
        fail(f"can't read the manifest `{revision}`: {str(error).lower()}")


def _plan(rules: str, net: nn.Module | Network, arguments: Mapping[str, Any]) -> Plan:
    """Return the plan of one side; exit with 2 where it can't be made."""
    revision = revision_of(rules)
    if revision is not None:
        return reported(lambda: plan(net, rules_at(revision), **arguments))
    if rules.endswith(".json"):
        return reported(lambda: with_live(*read_plan(rules).again(net)))
    return reported(lambda: plan(net, Path(rules), **arguments))


def _painted(line: str, role: str) -> str:
    if role in ("heading", "summary"):
        return click.style(line, bold=True)
    return click.style(line, fg=COLOURS[role]) if role in COLOURS else line
