"""`initdsl verify`: does a checkpoint still match its rules."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from initdsl.text.diagnostic import printable

from .console import fail, reported
from .model import named_network, whole_network
from .options import RuleOptions, format_option, manifest_option, rule_options, whole_option
from .rules import rules_of

if TYPE_CHECKING:
    from initdsl.verifying.verification import Verification


@click.command("verify")
@click.argument("rules", type=click.Path())
@click.argument("checkpoint", type=click.Path())
@rule_options(strict=False, seed_help="The seed of the values; by default the one in the file.")
@manifest_option()
@whole_option()
@click.option("--after-training", is_flag=True, help="Say how far each parameter has moved, and don't call it drift.")
@format_option("text", "json")
@click.option(
    "-q", "--quiet", is_flag=True, help="Print only what drifted or moved, the likely reason, and the last line."
)
def command(
    rules: str,
    checkpoint: str,
    options: RuleOptions,
    manifest: str | None,
    whole: str | None,
    after_training: bool,
    output_format: str,
    quiet: bool,
) -> None:
    """Compare CHECKPOINT with the rule file RULES.

    CHECKPOINT is a .safetensors file, a folder of shards or its index, a DCP directory, or a file of `torch.save`
    (.pt, .pth, .bin, .ckpt), from which only tensors are read. Exit code 0: it matches, 1: it
    drifted, 2: it could not be compared.
    """
    from initdsl.verifying.verify import verify

    if options.model is not None and manifest is not None:
        fail("`--model` and `--manifest` both say which model", "give one of them")
    otherwise = "`--no-trust` to go by the names in the file alone"
    network = None
    if whole is None or options.model is not None or manifest is not None:  # settings name the network that is whole
        network = named_network(options.model, manifest, rules, options.trust, otherwise)
    whole_given = whole_network(whole)
    variables = options.variables() or None
    given = rules_of(rules, options.root)
    verification = reported(
        lambda: verify(
            checkpoint,
            given,
            options.seed,
            model=network,
            vars=variables,
            root=options.root,
            whole=whole_given,
            after_training=after_training,
        )
    )
    if output_format == "json":
        click.echo(json.dumps(verification.to_dict(), indent=2))
    else:
        click.echo(_in_short(verification) if quiet else str(verification))
    raise SystemExit(0 if verification else 1)


def _in_short(verification: Verification) -> str:
    lines = [
        *map(str, [*verification.drifted, *verification.moved]),
        *(f"structure: {sentence}" for sentence in verification.structure),
        *(f"unmet: {sentence}" for sentence in verification.unmet),
        *(f"note: {sentence}" for sentence in verification.notes if not verification),
        verification.summary(),
    ]
    return "\n".join(map(printable, lines))
