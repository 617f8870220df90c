"""`initdsl plan`: what would happen to every parameter, and which rule does it."""

from __future__ import annotations

import json
import sys

import click

from initdsl.api.plan import plan
from initdsl.reports.table import plan_text

from .console import coloured, reported
from .model import network_of, whole_network
from .options import RuleOptions, format_option, manifest_option, rule_options, whole_option
from .rules import rules_of

COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


@click.command("plan")
@click.argument("rules", type=click.Path())
@rule_options()
@manifest_option()
@whole_option()
@format_option("text", "markdown", "json", "html")
@click.option("-o", "--output", type=click.Path(), help="Save to this .html, .json or .txt file; print nothing.")
@click.option("--all", "ungrouped", is_flag=True, help="Give each parameter a line; don't group layers that are alike.")
@click.option(
    "--detailed-exitcode", is_flag=True, help="Exit with 1 if parameters are uncovered or rules select nothing."
)
def command(
    rules: str,
    options: RuleOptions,
    manifest: str | None,
    whole: str | None,
    output_format: str,
    output: str | None,
    ungrouped: bool,
    detailed_exitcode: bool,
) -> None:
    """Show what the rule file RULES would do to a model; nothing is changed. A callable is built on the meta device."""
    net = network_of(options.model, manifest, rules, options.trust)
    arguments = {**options.arguments(), "whole": whole_network(whole)}
    given = rules_of(rules, options.root)
    planned = reported(lambda: plan(net, given, strict=options.strict, **arguments))
    if output is not None:
        reported(lambda: planned.save(output))
    elif output_format == "json":
        click.echo(json.dumps(planned.to_dict(), indent=2))
    elif output_format == "markdown":
        click.echo(planned.to_markdown(), nl=False)
    elif output_format == "html":
        from initdsl.reports.pages import plan_page

        click.echo(plan_page(planned), nl=False)
    else:
        group = not ungrouped
        painted = coloured(sys.stdout)
        click.echo(plan_text(planned, group, _painted) if painted else plan_text(planned, group))
    if detailed_exitcode and (planned.uncovered or planned.partial or planned.warnings):
        raise SystemExit(1)


def _painted(line: str, role: str) -> str:
    """Return a line of the table: its heading bold, the severity of a finding and uncovered parameters in their colour."""
    if role == "heading":
        return click.style(line, bold=True)
    if role == "uncovered":
        return click.style(line, fg="yellow")
    if role in COLOURS:
        return click.style(role, fg=COLOURS[role], bold=True) + line.removeprefix(role)
    return line
