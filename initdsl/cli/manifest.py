"""`initdsl manifest`: a network described as JSON, to lint and plan against without its code."""

from __future__ import annotations

import json

import click

from initdsl.network.describe import describe

from .console import reported, write_or_print
from .model import load_model
from .options import model_option, output_option


@click.command("manifest")
@model_option(required=True)
@output_option()
def command(model: str, output: str | None) -> None:
    """Describe a network: its names, classes, shapes, dtypes and ties. A callable is built on the meta device."""
    net = load_model(model, meta=True)
    network, _ = reported(lambda: describe(net))
    write_or_print(json.dumps(network.to_manifest(), indent=1) + "\n", output)
