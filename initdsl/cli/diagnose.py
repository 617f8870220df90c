"""`initdsl diagnose`: how signals and gradients get through a network as its rules start it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .console import coloured, fail
from .model import load_model, read_sample, reported, rule_options, variables

if TYPE_CHECKING:
    from collections.abc import Callable

    from initdsl.diagnosis import Comparison, Diagnosis


F = TypeVar("F", bound="Callable[..., Any]")


def _limit(name: str, what: str) -> Callable[[F], F]:
    return click.option(f"--max-{name}", type=float, help=f"Exit 1 where {what}.")


@click.command("diagnose")
@click.argument("rules", type=click.Path())
@rule_options
@click.option("--sample", type=click.Path(), help="Real input, as tensors of a .safetensors file.")
@click.option("--input-shape", metavar="N,N,...", help="The shape of random input, as in 8,3,224,224.")
@click.option("--against", type=click.Path(), metavar="RULES", help="Other rules, side by side on the same input.")
@click.option("--optimizer", type=click.Choice(["adam", "sgd"]), default="adam", show_default=True)
@click.option("--learning-rate", type=float, default=1e-3, show_default=True)
@click.option("--format", "form", type=click.Choice(["text", "json", "html"]), default="text", show_default=True)
@click.option(
    "-o", "--output", "outputs", type=click.Path(), multiple=True,
    help="Also save to this file: .html, .json, .txt, or plots as .png, .svg, .pdf. May be given again.",
)  # fmt: skip
@click.option("--all", "every", is_flag=True, help="One line a layer, repeated layers not grouped.")
@_limit("growth", "activations or gradients change by more than this factor over the whole depth")
@_limit("dead", "more than this share of a layer's units is dead")
@_limit("saturated", "more than this share of a layer's values is saturated")
@_limit("similarity", "the mean cosine between samples is above this in a layer")
@_limit("update-ratio", "the first update of a weight is more than this share of it")
def command(
    rules: str, model: str | None, settings: tuple[str, ...], seed: int | None, strict: bool, root: str | None,
    sample: str | None, input_shape: str | None, against: str | None, optimizer: str, learning_rate: float, form: str,
    outputs: tuple[str, ...], every: bool, max_growth: float | None, max_dead: float | None,
    max_saturated: float | None, max_similarity: float | None, max_update_ratio: float | None,
) -> None:  # fmt: skip
    """Fill a network by the rule file RULES, run it forward and backward once, and show what happens on the way.

    Without --sample, random input that fits the network goes in. With a limit, exit code 1 says that it is exceeded.
    """
    from pathlib import Path

    from initdsl.diagnosis import Limits, diagnose
    from initdsl.reports.pages.save import suffix_of

    if model is None:
        fail("`--model` says which network", "as in `--model package.module:attribute`")
    limits = reported(lambda: Limits(max_growth, max_dead, max_saturated, max_similarity, max_update_ratio))
    for output in outputs:
        reported(lambda output=output: suffix_of(output, plots=True))  # type: ignore[misc]
    shape = _shape(input_shape) if input_shape is not None else None
    if sample is not None and shape is not None:
        fail("a sample has a shape of its own", "leave out `--input-shape` or `--sample`")
    net = load_model(model, meta=False)
    given = read_sample(sample) if sample is not None else None
    options: dict[str, Any] = {
        "sample": given, "input_shape": shape, "seed": seed, "vars": variables(settings), "root": root,
        "strict": strict, "optimizer": optimizer, "learning_rate": learning_rate,
    }  # fmt: skip
    one = reported(lambda: diagnose(net, Path(rules), **options))
    made = one if against is None else one.compare(reported(lambda: diagnose(net, Path(against), **options)))
    for output in outputs:
        _save(made, output)
    beyond = one.exceeded(limits)
    if form == "json":
        said = made.to_dict() if limits == Limits() else {**made.to_dict(), "exceeded": beyond}
        click.echo(json.dumps(said, indent=2))
    elif form == "html":
        from initdsl.diagnosis.page import diagnosis_page

        both = [one.to_dict()] if against is None else [one.to_dict(), made.second.to_dict()]
        click.echo(diagnosis_page(both), nl=False)
    else:
        _show(made, every)
    for sentence in beyond:
        click.echo(f"exceeded: {sentence}", err=True)
    if beyond:
        raise SystemExit(1)


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        fail(f"`--input-shape {text}` is no shape", "as in `--input-shape 8,3,224,224`")
    return shape


def _save(made: Diagnosis | Comparison, path: str) -> None:
    try:
        reported(lambda: made.save(path))
    except ImportError as error:
        fail(str(error))


def _show(made: Diagnosis | Comparison, every: bool) -> None:
    """The table in the terminal's width and colours; plain and as wide as it needs where there is none."""
    if not coloured(sys.stdout):
        click.echo(made.table(every))
        return
    from rich.console import Console

    from initdsl.diagnosis.diagnosis import Diagnosis
    from initdsl.diagnosis.tables import about, rich_table, sentences

    both = [made] if isinstance(made, Diagnosis) else [made.first, made.second]
    console = Console()
    console.print("\n".join(about(both)), markup=False, highlight=False)
    console.print(rich_table(both, every))
    for text, bad in sentences(both):
        console.print(text, style="yellow" if bad else "green", markup=False, highlight=False)
