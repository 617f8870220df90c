"""`initdsl diagnose`: how signals and gradients get through a model as its rules start it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .console import coloured, fail, reported
from .model import load_model, read_sample
from .options import RuleOptions, format_option, input_options, rule_options, shape_of
from .rules import rules_of

if TYPE_CHECKING:
    from initdsl.diagnosis import Comparison, Diagnosis


Command = TypeVar("Command", bound=Callable[..., Any])


def _limit(name: str, excess: str) -> Callable[[Command], Command]:
    return click.option(f"--max-{name}", type=float, help=f"Exit with 1 if {excess}.")


@click.command("diagnose")
@click.argument("rules", type=click.Path())
@rule_options()
@input_options()
@click.option("--against", type=click.Path(), metavar="RULES", help="Compare with these rules on the same input.")
@click.option("--optimizer", type=click.Choice(["adam", "sgd"]), default="adam", show_default=True)
@click.option("--learning-rate", type=float, default=1e-3, show_default=True)
@format_option("text", "json", "html")
@click.option(
    "-o",
    "--output",
    "outputs",
    type=click.Path(),
    multiple=True,
    help="Also save to this file: .html, .json, .txt, or plots as .png, .svg, .pdf. May be given again.",
)
@click.option("--all", "ungrouped", is_flag=True, help="Give each layer a line; don't group layers that are alike.")
@_limit("growth", "activations or gradients change by more than this factor over the whole depth")
@_limit("dead", "more than this share of a layer's units is dead")
@_limit("saturated", "more than this share of a layer's values is saturated")
@_limit("similarity", "the mean cosine between samples is above this in a layer")
@_limit("update-ratio", "the first update of a weight is more than this share of it")
def command(
    rules: str,
    options: RuleOptions,
    sample: str | None,
    input_shape: str | None,
    against: str | None,
    optimizer: str,
    learning_rate: float,
    output_format: str,
    outputs: tuple[str, ...],
    ungrouped: bool,
    max_growth: float | None,
    max_dead: float | None,
    max_saturated: float | None,
    max_similarity: float | None,
    max_update_ratio: float | None,
) -> None:
    """Fill a model by the rule file RULES, run it forward and backward once, and show signals and gradients.

    Without --sample the input is random. With a limit, exit code 1 means that it is exceeded.
    """
    from initdsl.diagnosis import Limits, diagnose
    from initdsl.reports.pages.save import suffix_of

    model = options.required_model()
    limits = reported(lambda: Limits(max_growth, max_dead, max_saturated, max_similarity, max_update_ratio))
    reported(lambda: [suffix_of(output, plots=True) for output in outputs])  # before anything runs
    shape = shape_of(input_shape) if input_shape is not None else None
    if sample is not None and shape is not None:
        fail("a sample has a shape of its own", "leave out `--input-shape` or `--sample`")
    given = rules_of(rules, options.root)
    net = load_model(model, meta=False)
    arguments: dict[str, Any] = {
        **options.arguments(),
        "strict": options.strict,
        "sample": read_sample(sample) if sample is not None else None,
        "input_shape": shape,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
    }
    diagnosis = reported(lambda: diagnose(net, given, **arguments))
    other = None if against is None else reported(lambda: diagnose(net, Path(against), **arguments))
    result = diagnosis if other is None else diagnosis.compare(other)
    for output in outputs:
        _save(result, output)
    exceeded = diagnosis.exceeded(limits)
    if output_format == "json":
        values = result.to_dict() if limits == Limits() else {**result.to_dict(), "exceeded": exceeded}
        click.echo(json.dumps(values, indent=2))
    elif output_format == "html":
        _print_page(diagnosis, other)
    else:
        _print_table(result, ungrouped)
    for sentence in exceeded:
        click.echo(f"exceeded: {sentence}", err=True)
    if exceeded:
        raise SystemExit(1)


def _save(result: Diagnosis | Comparison, path: str) -> None:
    try:
        reported(lambda: result.save(path))
    except ImportError as error:  # matplotlib, for plots
        fail(str(error))


def _print_page(diagnosis: Diagnosis, other: Diagnosis | None) -> None:
    from initdsl.diagnosis.page import diagnosis_page

    click.echo(diagnosis_page([d.to_dict() for d in (diagnosis, other) if d is not None]), nl=False)


def _print_table(result: Diagnosis | Comparison, ungrouped: bool) -> None:
    """Print the table in the terminal's width and colours; plain and as wide as it needs where there is none."""
    if not coloured(sys.stdout):
        click.echo(result.table(ungrouped))
        return
    from rich.console import Console

    from initdsl.diagnosis.diagnosis import Diagnosis
    from initdsl.diagnosis.tables import about, rich_tables, sentences

    diagnoses = [result] if isinstance(result, Diagnosis) else [result.first, result.second]
    console = Console()
    console.print("\n".join(about(diagnoses)), markup=False, highlight=False)
    for number, table in enumerate(rich_tables(diagnoses, ungrouped, console.width)):
        if number:
            console.print()
        console.print(table)
    for text, is_bad in sentences(diagnoses):
        console.print(text, style="yellow" if is_bad else "green", markup=False, highlight=False)
