"""`initdsl manifest`: a network described as JSON, to lint and plan against without its code."""

from __future__ import annotations

import json

import click

from initdsl.text.files import write_whole

from .model import load_model, reported


@click.command("manifest")
@click.option(
    "--model", metavar="M:F", required=True, help="The network: package.module:attribute or file.py:attribute."
)
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write to this file instead of standard output.")
def command(model: str, output: str | None) -> None:
    """Describe a network: its names, classes, shapes, dtypes and ties. A callable is built on the meta device."""
    from initdsl.network.describe import describe

    net = load_model(model, meta=True)
    network, _ = reported(lambda: describe(net))
    text = json.dumps(network.to_manifest(), indent=1) + "\n"
    if output is None:
        click.echo(text, nl=False)
    else:
        reported(lambda: write_whole(output, text.encode()))
