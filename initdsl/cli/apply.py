"""`initdsl apply`: fill a network by its rules, print the report, save it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from .model import load_model, reported, rule_options, variables

if TYPE_CHECKING:
    from pathlib import Path

    from initdsl.planning.plan import Plan
    from initdsl.planning.saved import SavedPlan


@click.command("apply")
@click.argument("rules", type=click.Path())
@rule_options
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    help="Save to this .safetensors file; or stream to this folder, never having the network in memory.",
)
@click.option(
    "--sample",
    "sample_file",
    metavar="FILE.safetensors",
    type=click.Path(),
    help="What rules that look at data run the network on.",
)
@click.option("--max-shard-size", metavar="SIZE", help="How much goes to one file of a folder; 5GB by default.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--report", "page", type=click.Path(), help="Save the report to this .html, .json or .txt file.")
@click.option("-q", "--quiet", is_flag=True, help="Print no report.")
def command(
    rules: str, model: str | None, settings: tuple[str, ...], seed: int | None, strict: bool, root: str | None,
    output: str | None, sample_file: str | None, max_shard_size: str | None, form: str, page: str | None, quiet: bool,
) -> None:  # fmt: skip
    """Fill a network by the rule file RULES, print what was done, and save it with -o.

    RULES may be a plan that `initdsl plan -o plan.json` saved: it is carried out if rules and network are still those
    it was made of, with its own seed and settings. `-o out/` writes a network that may be larger than memory, as
    safetensors shards that transformers reads.
    """
    from pathlib import Path

    from initdsl.api.apply import apply
    from initdsl.reports.table import plan_text

    from .console import fail

    if model is None:
        fail("`--model` says which network", "as in `--model package.module:attribute`")
        return
    saved = _saved(rules, seed, settings, root)
    if page is not None:
        from initdsl.reports.pages.save import suffix_of

        reported(lambda: suffix_of(page))  # before anything is filled
    common: dict[str, Any] = (
        {"seed": seed, "vars": variables(settings), "root": root} if saved is None else saved.options
    )
    if output is not None and _is_folder(output, max_shard_size):
        if common["seed"] is None:
            fail(
                "a network is streamed to a folder from a seed",
                "add `--seed 0`, or save to one file: `-o out.safetensors`",
            )
        if sample_file is not None:
            fail("a network that is streamed is not run on a sample", "save to one file: `-o out.safetensors`")
        made = _stream(model, Path(rules), saved, output, max_shard_size or "5GB", {**common, "strict": strict})
    else:
        sample = None if sample_file is None else _sample(sample_file)
        net = load_model(model, meta=False)

        def fill() -> Report:
            if saved is not None:
                return saved.again(net, strict=strict).apply(sample=sample)
            return apply(net, Path(rules), sample=sample, strict=strict, **common)

        made = reported(fill).plan
        if output is not None:
            from initdsl.checkpoints.safetensors import save
            from initdsl.filling.to_disk.provenance import provenance

            reported(lambda: save(net, output, provenance(made)))
    if page is not None:
        from initdsl.api.report import Report

        reported(lambda: Report(made).save(page))
    if quiet:
        return
    click.echo(json.dumps(_report(made), indent=2) if form == "json" else plan_text(made))


def _saved(rules: str, seed: int | None, settings: tuple[str, ...], root: str | None) -> SavedPlan | None:
    """The plan that a `.json` file holds; None for a rule file."""
    from .console import fail

    if not rules.endswith(".json"):
        return None
    for option, said in (("--seed", seed is not None), ("--set", settings), ("--root", root is not None)):
        if said:
            fail(f"the plan `{rules}` says itself what `{option}` would", f"leave out `{option}`, or make another plan")
    from initdsl.planning.saved import read_plan

    found: SavedPlan = reported(lambda: read_plan(rules))
    return found


def _is_folder(output: str, max_shard_size: str | None) -> bool:
    """Whether the output is a folder of shards; a file of another kind than safetensors ends the program."""
    import os

    from .console import fail

    if output.endswith(".safetensors") and not os.path.isdir(output):
        if max_shard_size is not None:
            fail(f"`{output}` is one file; --max-shard-size is for a folder", "write `-o out/`")
        return False
    if output.endswith(os.sep) or os.path.isdir(output):
        return True
    if os.path.splitext(output)[1] or os.path.exists(output):
        fail(
            f"`{output}` is not a .safetensors file", "write `-o out.safetensors`, or `-o out/` for a folder of shards"
        )
    return True


def _sample(path: str) -> Any:
    """The arguments of a forward pass: one tensor; several named 0, 1, ..., in that order; else by their names."""
    from .console import fail
    from .model import read_sample

    found = read_sample(path)
    if not found:
        fail(f"the sample `{path}` holds no tensor")
    if len(found) == 1:
        return next(iter(found.values()))
    places = [str(n) for n in range(len(found))]
    return tuple(found[place] for place in places) if set(found) == set(places) else found


def _stream(
    model: str, rules: Path, saved: SavedPlan | None, folder: str, max_shard_size: str, common: dict[str, Any]
) -> Plan:
    import torch

    from initdsl.filling.to_disk.stream import size_in_bytes, stream

    from .console import progress
    from .model import called, find_model

    most = reported(lambda: size_in_bytes(max_shard_size))
    found = find_model(model)
    network = found if isinstance(found, torch.nn.Module) else called(model, found)
    if saved is not None:
        described = load_model(model, meta=True)
        reported(lambda: saved.again(described, strict=common["strict"]))
    with progress("writing") as tell:
        report = reported(
            lambda: stream(
                network,
                rules if saved is None else saved.rules,
                folder,
                max_shard_size=most,
                on_progress=tell,
                **common,
            )
        )
    plan: Plan = report.plan
    return plan


def _report(made: object) -> dict[str, object]:
    from initdsl.api.report import Report
    from initdsl.planning.plan import Plan

    assert isinstance(made, Plan)
    return Report(made).to_dict()
