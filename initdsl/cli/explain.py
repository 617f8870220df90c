"""`initdsl explain`: why one parameter starts as it does."""

from __future__ import annotations

import json
import os

import click

from initdsl.api.plan import plan

from .console import fail, reported
from .model import network_of
from .options import RuleOptions, format_option, manifest_option, rule_options
from .rules import rules_of


@click.command("explain")
@click.argument("name")
@click.argument("rules", type=click.Path())
@rule_options()
@manifest_option()
@format_option("text", "json")
def command(name: str, rules: str, options: RuleOptions, manifest: str | None, output_format: str) -> None:
    """Show every rule of RULES for the parameter NAME, in order, which one wins and why.

    NAME is the fully qualified name (`layers.0.weight`) or a path as in a rule file (`net.layers[0].weight`).
    """
    if os.path.isfile(name) and not os.path.exists(rules):
        fail("the name of the parameter comes first", f"write `initdsl explain {rules} {name}`")
    net = network_of(options.model, manifest, rules, options.trust)
    arguments = options.arguments()
    given = rules_of(rules, options.root)
    explanation = reported(lambda: plan(net, given, strict=options.strict, **arguments).explain(name))
    click.echo(json.dumps(explanation.to_dict(), indent=2) if output_format == "json" else str(explanation))
