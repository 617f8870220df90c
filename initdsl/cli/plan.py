"""`initdsl plan`: what would happen to every parameter, and which rule does it."""

from __future__ import annotations

import json

import click

from .console import coloured
from .model import network_of, reported, rule_options, variables

PLAN_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


@click.command("plan")
@click.argument("rules", type=click.Path())
@rule_options
@click.option("--manifest", type=click.Path(), help="A network description in place of `--model`.")
@click.option("--format", "form", type=click.Choice(["text", "json", "html"]), default="text", show_default=True)
@click.option("-o", "--output", type=click.Path(), help="Save to this .html, .json or .txt file; print nothing.")
@click.option("--all", "ungrouped", is_flag=True, help="One line a parameter, repeated layers not grouped.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 1 where parameters are uncovered or rules unmatched.")
def command(
    rules: str, model: str | None, settings: tuple[str, ...], seed: int | None, strict: bool, root: str | None,
    manifest: str | None, form: str, output: str | None, ungrouped: bool, detailed_exitcode: bool,
) -> None:  # fmt: skip
    """Show what the rule file RULES would do to a network. Touches nothing; a callable is built on the meta device."""
    from pathlib import Path

    from initdsl.planning.make import plan
    from initdsl.reports.table import plan_text

    net = network_of(model, manifest, rules)
    made = reported(lambda: plan(net, Path(rules), seed=seed, vars=variables(settings), strict=strict, root=root))
    if output is not None:
        reported(lambda: made.save(output))
    elif form == "json":
        click.echo(json.dumps(made.to_dict(), indent=2))
    elif form == "html":
        from initdsl.reports.pages import plan_page

        click.echo(plan_page(made), nl=False)
    else:
        click.echo(_painted(plan_text(made, group=not ungrouped)))
    if detailed_exitcode and (made.uncovered or made.partial or made.warnings):
        raise SystemExit(1)


def _painted(text: str) -> str:
    """The table with its heading bold and findings in their colour, on a terminal."""
    import sys

    if not coloured(sys.stdout):
        return text
    head, *lines = text.split("\n")
    painted = [click.style(head, bold=True)]
    for line in lines:
        kind = line.partition("[")[0]
        if kind in PLAN_COLOURS:
            line = click.style(kind, fg=PLAN_COLOURS[kind], bold=True) + line[len(kind) :]
        elif "- uncovered" in line:
            line = click.style(line, fg="yellow")
        painted.append(line)
    return "\n".join(painted)
