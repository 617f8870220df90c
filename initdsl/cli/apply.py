"""`initdsl apply`: fill a network by its rules, print the report, save it."""

from __future__ import annotations

import json

import click

from .model import load_model, reported, rule_options, variables


@click.command("apply")
@click.argument("rules", type=click.Path())
@rule_options
@click.option("-o", "--output", type=click.Path(), help="Save to this .safetensors file.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("-q", "--quiet", is_flag=True, help="Print no report.")
def command(
    rules: str, model: str | None, settings: tuple[str, ...], seed: int | None, strict: bool, root: str | None,
    output: str | None, form: str, quiet: bool,
) -> None:  # fmt: skip
    """Fill a network by the rule file RULES, print what was done, and save it with -o."""
    from pathlib import Path

    from ..api import apply
    from ..report import plan_text
    from .console import fail

    if model is None:
        fail("`--model` says which network", "as in `--model package.module:attribute`")
        return
    if output is not None and not output.endswith(".safetensors"):
        fail(f"`{output}` is not a .safetensors file", "write `-o out.safetensors`")
    net = load_model(model, meta=False)
    made = reported(lambda: apply(net, Path(rules), seed=seed, vars=variables(settings), strict=strict, root=root)).plan
    if output is not None:
        from ..checkpoint import provenance, save

        reported(lambda: save(net, output, provenance(made)))
    if quiet:
        return
    click.echo(json.dumps(_report(made), indent=2) if form == "json" else plan_text(made))


def _report(made: object) -> dict[str, object]:
    from ..plans import Plan
    from ..report import Report

    assert isinstance(made, Plan)
    return Report(made).to_dict()
