"""`initdsl explain`: why one parameter starts as it does."""

from __future__ import annotations

import json
import os

import click

from initdsl.api.plan import Plan, plan
from initdsl.reports.table import grouped

from .console import fail, reported
from .model import network_of
from .options import RuleOptions, format_option, manifest_option, rule_options
from .rules import rules_of


@click.command("explain")
@click.argument("names", nargs=-1, required=True, metavar="NAME")
@click.argument("rules", type=click.Path())
@rule_options()
@manifest_option()
@format_option("text", "json")
def command(names: tuple[str, ...], rules: str, options: RuleOptions, manifest: str | None, output_format: str) -> None:
    """Show every rule of RULES for the parameter NAME, in order, which one wins and why.

    NAME is the fully qualified name (`layers.0.weight`), a path as in a rule file (`net.layers[0].weight`) or what a
    line of `initdsl plan` begins with (`layers.{0..3}.weight`).
    """
    if os.path.isfile(names[0]) and not os.path.exists(rules):
        fail("the name of the parameter comes first", f"write `initdsl explain {rules} {names[0]}`")
    net = network_of(options.model, manifest, rules, options.trust)
    arguments = options.arguments()
    given = rules_of(rules, options.root)
    made = reported(lambda: plan(net, given, strict=options.strict, **arguments))
    explanation = reported(lambda: made.explain(_meant(made, names)))
    click.echo(json.dumps(explanation.to_dict(), indent=2) if output_format == "json" else str(explanation))


def _meant(made: Plan, names: tuple[str, ...]) -> str:
    """Return the one name that is meant: a shell turns `layers.{0..3}.weight` into four."""
    if len(names) == 1:
        return names[0]
    for line, members in grouped(made.entries):
        if tuple(member.name for member in members) == names:
            return line
    fail(f"one parameter is explained at a time, not {len(names)}", "write quotes around a name with braces or blanks")
