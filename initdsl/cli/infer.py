"""`initdsl infer`: a rule file proposed from a model as its own code starts it."""

from __future__ import annotations

import click

from .console import fail, refuse_unless_rule_file, reported, working, write_or_print
from .model import checked_factory, find_model
from .options import LARGEST_SEED, model_option, output_option, required_model
from .trust import trust_option

# what is not understood is named in full up to so many parameters
MOST_NAMED = 12


@click.command("infer")
@model_option("A callable: package.module:attribute or file.py:attribute.")
@trust_option()
@click.option(
    "--samples", type=click.IntRange(2, 1000), help="How often to build the model.  [default: 3 to 12, by its size]"
)
@click.option(
    "--seed", type=click.IntRange(0, LARGEST_SEED), default=0, show_default=True, help="The first seed of the samples."
)
@output_option()
def command(model: str | None, trust: bool | None, samples: int | None, seed: int, output: str | None) -> None:
    """Propose a rule file that gives the start of a model's own code.

    The callable is called a few times, each time with other seeds. Comments say how sure each rule is. Parameters that
    are not understood keep the values of their constructor.
    """
    from torch import nn

    from initdsl.migrating.inferring import infer

    refuse_unless_rule_file(output)
    model = required_model(model, trust)
    build = find_model(model)
    if isinstance(build, nn.Module):
        fail(f"`{model}` is a model that was built already", "name what builds it: it is built anew a few times")
    factory = checked_factory(model, build)
    title = f"proposed by `initdsl infer --model {model}`"
    with working("looking at the model") as tell:
        inferred = reported(lambda: infer(factory, samples=samples, seed=seed, title=title, on_progress=tell))
    write_or_print(inferred.text, output)
    if inferred.kept:
        more = ", ..." if len(inferred.kept) > MOST_NAMED else ""
        click.echo(f"not understood: {', '.join(inferred.kept[:MOST_NAMED])}{more}", err=True)
