"""`initdsl apply`: fill a model by its rules, print the report, save it."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from initdsl.language.rules.loader import Rules
from initdsl.planning.saved import SavedPlan, read_plan
from initdsl.reports.table import plan_text

from .console import fail, progress, reported, show
from .model import checked_factory, find_model, load_model, read_sample, whole_network
from .options import RuleOptions, rule_options, whole_option
from .rules import rules_of

if TYPE_CHECKING:
    from initdsl.api.report import Report

DEFAULT_SHARD_SIZE = "5GB"


# formats of a folder, that of no `--format` first
FOLDERS = ("safetensors", "dcp")


@click.command("apply")
@click.argument("rules", type=click.Path())
@rule_options()
@whole_option()
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    help="Save to this .safetensors file; or stream to this folder, without the model in memory.",
)
@click.option(
    "--sample",
    metavar="FILE.safetensors",
    type=click.Path(),
    help="The input for rules that look at data.",
)
@click.option("--max-shard-size", metavar="SIZE", help="The largest size of a file in a folder; 5GB by default.")
@click.option(
    "--format",
    "formats",
    type=click.Choice(["text", "json", *FOLDERS]),
    multiple=True,
    help="Of the report: text (the default) or json; of a folder: safetensors (the default) or dcp. Once for each.",
)
@click.option("--report", "page", type=click.Path(), help="Save the report to this .html, .json or .txt file.")
@click.option("-q", "--quiet", is_flag=True, help="Print no report.")
def command(
    rules: str,
    options: RuleOptions,
    whole: str | None,
    output: str | None,
    sample: str | None,
    max_shard_size: str | None,
    formats: tuple[str, ...],
    page: str | None,
    quiet: bool,
) -> None:
    """Fill a model by the rule file RULES and print the report; save the model with -o.

    RULES may be a plan that `initdsl plan -o plan.json` saved. It is applied with its own seed and settings, if the rules
    and the model have not changed. `-o out/` writes a model that may be larger than memory: as safetensors shards that
    transformers reads, or with `--format dcp` as a directory of torch.distributed.checkpoint.
    """
    from initdsl.reports.pages.save import suffix_of

    report_format, folder_format = _one_of(formats, ("text", "json")), _one_of(formats, FOLDERS)
    model = options.required_model()
    given = rules_of(rules, options.root)
    saved = _saved_plan(rules, options) if rules.endswith(".json") else None
    if page is not None:
        reported(lambda: suffix_of(page))  # before anything is filled
    arguments = options.arguments() if saved is None else saved.options
    is_folder = output is not None and _is_folder(output, max_shard_size)
    if folder_format is not None and not is_folder:
        fail(f"`--format {folder_format}` is for a folder", "write `-o out/`")
    if output is not None and is_folder:
        if arguments["seed"] is None:
            hint = "add `--seed 0`, or save to one file: `-o out.safetensors`"
            fail("a model is streamed to a folder from a seed", hint)
        if whole is not None:
            fail("a stage is not streamed to a folder", "stream the whole model; each stage loads what it holds")
        if sample is not None:
            fail("a model that is streamed is not run on a sample", "save to one file: `-o out.safetensors`")
        arguments = {**arguments, "strict": options.strict, "max_shard_size": max_shard_size or DEFAULT_SHARD_SIZE}
        arguments["format"] = folder_format or FOLDERS[0]
        report = _stream(model, given, saved, output, arguments)
    else:
        arguments = {**arguments, "strict": options.strict, "whole": whole_network(whole)}
        report = _fill(model, given, saved, sample, output, arguments)
    if page is not None:
        reported(lambda: report.save(page))
    if not quiet:
        click.echo(json.dumps(report.to_dict(), indent=2) if report_format == "json" else plan_text(report.plan))


def _one_of(formats: tuple[str, ...], choices: tuple[str, ...]) -> str | None:
    """Return which of some formats is given, None where none is; exit with 2 where several are."""
    given = [each for each in choices if each in formats]
    if len(given) > 1:
        fail(f"`--format {given[0]}` and `--format {given[1]}` are given", "give one of them")
    return given[0] if given else None


def _saved_plan(path: str, options: RuleOptions) -> SavedPlan:
    """Return the plan that a file holds; exit with 2 where options say what it says itself."""
    given = {"--seed": options.seed is not None, "--set": options.settings, "--root": options.root is not None}
    for option in (option for option, is_given in given.items() if is_given):
        fail(f"the plan `{path}` says itself what `{option}` would", f"leave out `{option}`, or make another plan")
    saved = reported(lambda: read_plan(path))
    if saved.changed is not None:
        show([saved.changed], file=sys.stderr)
    return saved


def _is_folder(output: str, max_shard_size: str | None) -> bool:
    """Tell whether the output is a folder of shards; exit with 2 for a file of another kind than safetensors."""
    if output.endswith(".safetensors") and not os.path.isdir(output):
        if max_shard_size is not None:
            fail(f"`{output}` is one file; --max-shard-size is for a folder", "write `-o out/`")
        return False
    if output.endswith(os.sep) or os.path.isdir(output):
        return True
    if os.path.splitext(output)[1] or os.path.exists(output):
        hint = "write `-o out.safetensors`, or `-o out/` for a folder of shards"
        fail(f"`{output}` is not a .safetensors file", hint)
    return True


def _fill(
    model: str, rules: Rules, saved: SavedPlan | None, sample: str | None, output: str | None, arguments: dict[str, Any]
) -> Report:
    """Fill a model in memory, and save it to a file."""
    from initdsl.api.apply import apply  # late: it loads torch, which the help does without
    from initdsl.api.plan import with_live
    from initdsl.checkpoints.writing import save
    from initdsl.filling.to_disk.provenance import provenance

    inputs = None if sample is None else _inputs(sample)
    net = load_model(model, meta=False)

    def fill() -> Report:
        if saved is not None:
            return with_live(*saved.again(net, strict=arguments["strict"], whole=arguments["whole"])).apply(
                sample=inputs
            )
        return apply(net, rules, sample=inputs, **arguments)

    report = reported(fill)
    if output is not None:
        reported(lambda: save(net, output, provenance(report.plan)))
    return report


def _inputs(path: str) -> Any:
    """Return the arguments of a forward pass: one tensor; several named 0, 1, ..., in that order; else by their names."""
    tensors = read_sample(path)
    if not tensors:
        fail(f"the sample `{path}` holds no tensor")
    if len(tensors) == 1:
        return next(iter(tensors.values()))
    places = [str(place) for place in range(len(tensors))]
    return tuple(tensors[place] for place in places) if set(tensors) == set(places) else tensors


def _stream(model: str, rules: Rules, saved: SavedPlan | None, folder: str, arguments: dict[str, Any]) -> Report:
    """Write a model to a folder without having it in memory."""
    from torch import nn

    from initdsl.api.stream import stream
    from initdsl.filling.to_disk.stream import size_in_bytes

    size = reported(lambda: size_in_bytes(arguments["max_shard_size"]))
    build = find_model(model)
    network = build if isinstance(build, nn.Module) else checked_factory(model, build)
    if saved is not None:
        described = load_model(model, meta=True)
        reported(lambda: saved.again(described, strict=arguments["strict"]))
    with progress("writing") as tell:
        return reported(
            lambda: stream(
                network,
                rules if saved is None else saved.rules,
                folder,
                on_progress=tell,
                **{**arguments, "max_shard_size": size},
            )
        )
