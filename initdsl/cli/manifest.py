"""`initdsl manifest`: a model described as JSON, to lint and plan against without its code."""

from __future__ import annotations

import json

import click

from .console import reported, write_or_print
from .model import load_model
from .options import model_option, output_option, required_model
from .trust import trust_option


@click.command("manifest")
@model_option()
@trust_option()
@output_option()
def command(model: str | None, trust: bool | None, output: str | None) -> None:
    """Describe a model as JSON: names, classes, shapes, dtypes and ties. A callable is built on the meta device."""
    from initdsl.diagnosis.norms import asked

    net = load_model(required_model(model, trust), meta=True)
    network, _ = reported(lambda: asked(net))
    write_or_print(json.dumps(network.to_manifest(), indent=1) + "\n", output)
