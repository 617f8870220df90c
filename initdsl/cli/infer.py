"""`initdsl infer`: a rule file proposed from a network as its own code starts it."""

from __future__ import annotations

import click

from initdsl.text.files import write_whole

from .console import fail
from .model import called, find_model, reported


@click.command("infer")
@click.option(
    "--model", metavar="M:F", required=True, help="A callable: package.module:attribute or file.py:attribute."
)
@click.option("--samples", type=click.IntRange(2, 1000), help="How often to build it.  [default: 3 to 12, by its size]")
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), default=0, show_default=True, help="Of the samples.")
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write to this file instead of standard output.")
def command(model: str, samples: int | None, seed: int, output: str | None) -> None:
    """Propose a rule file that starts a network as its own code does.

    The callable is called a few times, each under other seeds. Comments say how sure each rule is; what is not
    understood is kept as the constructor makes it.
    """
    from torch import nn

    from initdsl.migrating.inferring import infer

    if output is not None and not output.endswith(".init"):
        fail(f"`{output}` is not an .init file", "write `-o model.init`")
    found = find_model(model)
    if isinstance(found, nn.Module):
        fail(f"`{model}` is a network that was built already", "name what builds it: it is built anew a few times")
    factory = called(model, found)
    made = reported(
        lambda: infer(factory, samples=samples, seed=seed, title=f"proposed by `initdsl infer --model {model}`")
    )
    if output is None:
        click.echo(made.text, nl=False)
    else:
        reported(lambda: write_whole(output, made.text.encode()))
    if made.kept:
        click.echo(f"not understood: {', '.join(made.kept[:12])}{', ...' * (len(made.kept) > 12)}", err=True)
