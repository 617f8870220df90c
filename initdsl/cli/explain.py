"""`initdsl explain`: why one parameter starts as it does."""

from __future__ import annotations

import json

import click

from .model import network_of, reported, rule_options, variables


@click.command("explain")
@click.argument("name")
@click.argument("rules", type=click.Path())
@rule_options
@click.option("--manifest", type=click.Path(), help="A network description in place of `--model`.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(
    name: str, rules: str, model: str | None, settings: tuple[str, ...], seed: int | None, strict: bool,
    root: str | None, manifest: str | None, form: str,
) -> None:  # fmt: skip
    """Show every rule of RULES that touches the parameter NAME, in order, which one won and why.

    NAME is as in `named_parameters()` (`layers.0.weight`) or as in a rule file (`net.layers[0].weight`).
    """
    from pathlib import Path

    from initdsl.planning.make import plan

    net = network_of(model, manifest, rules)
    found = reported(
        lambda: plan(net, Path(rules), seed=seed, vars=variables(settings), strict=strict, root=root).explain(name)
    )
    click.echo(json.dumps(found.to_dict(), indent=2) if form == "json" else str(found))
