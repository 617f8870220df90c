"""`initdsl verify`: does a checkpoint still match its rules."""

from __future__ import annotations

import json

import click

from .model import configured, load_model, read_manifest, reported, variables


@click.command("verify")
@click.argument("rules", type=click.Path())
@click.argument("checkpoint", type=click.Path())
@click.option("--model", metavar="M:F", help="The network: package.module:attribute or file.py:attribute.")
@click.option("--manifest", type=click.Path(), help="A network description in place of `--model`.")
@click.option("--set", "settings", metavar="NAME=VALUE", multiple=True, help="Override a `let`.")
@click.option(
    "--seed", type=click.IntRange(0, 2**64 - 1), help="The seed of its values; by default what the file says."
)
@click.option("--root", type=click.Path(file_okay=False), help="The folder that `use` and `load` may not leave.")
@click.option("--after-training", is_flag=True, help="Say how far each parameter has moved; that is no drift.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("-q", "--quiet", is_flag=True, help="Print what drifted and what may be why, and the last line.")
def command(
    rules: str, checkpoint: str, model: str | None, manifest: str | None, settings: tuple[str, ...], seed: int | None,
    root: str | None, after_training: bool, form: str, quiet: bool,
) -> None:  # fmt: skip
    """Compare CHECKPOINT with what the rule file RULES makes.

    CHECKPOINT is a .safetensors file, a folder of shards or its index, or a DCP directory. Exit code 0: it matches,
    1: it drifted, 2: it could not be compared.
    """
    from pathlib import Path

    from initdsl.text.diagnostic import printable
    from initdsl.verifying.verify import verify

    from .console import fail

    if model is not None and manifest is not None:
        fail("`--model` and `--manifest` both say which network", "give one of them")
    if model is None and manifest is None:
        model, manifest = configured(rules)
    network = load_model(model, meta=True) if model is not None else None
    described = read_manifest(manifest) if manifest is not None else None
    found = reported(
        lambda: verify(
            checkpoint, Path(rules), seed, model=network if network is not None else described,
            vars=variables(settings) or None, root=root, after_training=after_training,
        )
    )  # fmt: skip
    if form == "json":
        click.echo(json.dumps(found.to_dict(), indent=2))
    elif quiet:
        click.echo(
            "\n".join(
                printable(line)
                for line in [
                    *map(str, found.drifted),
                    *(f"structure: {s}" for s in found.structure),
                    *(f"unmet: {s}" for s in found.unmet),
                    *(f"note: {s}" for s in found.notes if not found),
                    found.summary(),
                ]
            )
        )
    else:
        click.echo(str(found))
    raise SystemExit(0 if found else 1)
