"""`initdsl apply`: fill a network by its rules, print the report, save it."""

from __future__ import annotations

import json

import click

from .model import load_model, reported, rule_options, variables


@click.command("apply")
@click.argument("rules", type=click.Path())
@rule_options
@click.option("-o", "--output", type=click.Path(), help="Save to this .safetensors file, or sharded into this folder.")
@click.option("--max-shard-size", default="5GB", show_default=True, help="Of one file of a sharded checkpoint.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("-q", "--quiet", is_flag=True, help="Print no report.")
def command(
    rules: str, model: str | None, settings: tuple[str, ...], seed: int | None, strict: bool, root: str | None,
    output: str | None, max_shard_size: str, form: str, quiet: bool,
) -> None:  # fmt: skip
    """Fill a network by the rule file RULES, print what was done, and save it with -o.

    A folder as output (`-o out/`) streams the network there, built on the meta device and never whole in memory; that
    needs a seed.
    """
    from pathlib import Path

    from ..api import apply, plan
    from ..report import plan_text
    from .console import fail

    if model is None:
        fail("`--model` says which network", "as in `--model package.module:attribute`")
        return
    folder = output is not None and (output.endswith("/") or Path(output).is_dir())
    if folder:
        from .stream import stream_to

        net = load_model(model, meta=True)
        made = reported(lambda: plan(net, Path(rules), seed=seed, vars=variables(settings), strict=strict, root=root))
        reported(lambda: stream_to(made, output or "", max_shard_size))
    else:
        if output is not None and not output.endswith(".safetensors"):
            fail(f"`{output}` is neither a .safetensors file nor a folder", "write `-o out.safetensors`, or `-o out/`")
        net = load_model(model, meta=False)
        made = reported(
            lambda: apply(net, Path(rules), seed=seed, vars=variables(settings), strict=strict, root=root)
        ).plan
        if output is not None:
            from ..checkpoint import save

            reported(lambda: save(net, output))
    if quiet:
        return
    click.echo(json.dumps(_report(made), indent=2) if form == "json" else plan_text(made))


def _report(made: object) -> dict[str, object]:
    from ..plans import Plan
    from ..report import Report

    assert isinstance(made, Plan)
    return Report(made).to_dict()
