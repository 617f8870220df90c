"""`initdsl diff`: what a change does to the start."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import click

from initdsl.api.diff import Diff, diff, diffs_page
from initdsl.comparing.markdown import diffs_markdown
from initdsl.comparing.text import diff_text
from initdsl.reports.markdown import LARGEST_COMMENT

from .console import coloured, fail, reported, write_or_print
from .model import read_sample
from .options import RuleOptions, format_option, input_options, manifest_option, output_option, rule_options, shape_of
from .sides import Side, named_side, plans_of, sides_since

COLOURS = {
    "drawn": "yellow",
    "set": "yellow",
    "derived": "yellow",
    "uncovered": "red",
    "covered": "green",
    "added": "green",
    "removed": "red",
}


DIFFS_FORMAT = "initdsl-diffs"


DIFFS_VERSION = 1


# comparisons by the names of their rule files
Diffs = Mapping[str, Diff]


@click.command("diff")
@click.argument("old")
@click.argument("new", required=False)
@rule_options(strict=False)
@manifest_option()
@click.option("--old-model", metavar="M:F", help="The model of OLD, if it is another one.")
@click.option("--new-model", metavar="M:F", help="The model of NEW, if it is another one.")
@click.option("--old-manifest", help="The same as a manifest: a file, or REV:path.")
@click.option("--new-manifest", help="The same as a manifest: a file, or REV:path.")
@click.option("--old-set", metavar="NAME=VALUE", multiple=True, help="Override a `let` of OLD alone.")
@click.option("--new-set", metavar="NAME=VALUE", multiple=True, help="Override a `let` of NEW alone.")
@input_options()
@format_option("text", "markdown", "json", "html")
@click.option("--all", "everything", is_flag=True, help="Every row of a long table.")
@click.option(
    "--max-length",
    type=click.IntRange(1000),
    default=LARGEST_COMMENT,
    show_default=True,
    help="The most characters of Markdown.",
)
@output_option()
def command(
    old: str,
    new: str | None,
    options: RuleOptions,
    manifest: str | None,
    old_model: str | None,
    new_model: str | None,
    old_manifest: str | None,
    new_manifest: str | None,
    old_set: tuple[str, ...],
    new_set: tuple[str, ...],
    sample: str | None,
    input_shape: str | None,
    output_format: str,
    everything: bool,
    max_length: int,
    output: str | None,
) -> None:
    """Show how NEW starts a model otherwise than OLD. Exit code 0: no change, 1: changes, 2: could not run.

    OLD and NEW are each a rule file, a plan that `initdsl plan -o plan.json` saved, or REV:path, a file of a git
    revision. Files that it uses are read from that revision too; nothing is checked out. `--model` or `--manifest` names
    the model of both; `--old-model` and the like name another for one of them.

    With a git revision alone, each rule file of the working folder is compared with that revision, if the settings name
    a model for it.
    """
    inputs = _inputs(sample, input_shape)
    arguments = (_with(options, old_set), _with(options, new_set))
    if new is None:
        named = (options.model, manifest, old_model, new_model, old_manifest, new_manifest)
        if any(name is not None for name in named):
            fail("a revision alone is compared by the models that settings name", "give OLD and NEW, or no model")
        pairs = sides_since(old, options.trust)
        diffs = {path: _compared(*pair, arguments, inputs) for path, pair in pairs.items()}
    else:
        common = (options.model, manifest)
        first = named_side(old, *_named(common, old_model, old_manifest), options.trust)
        second = named_side(new, *_named(common, new_model, new_manifest), options.trust)
        diffs = {new: _compared(first, second, arguments, inputs)}
    text = _text(diffs, new is None, output_format, everything, max_length, output)
    write_or_print(text, output)
    raise SystemExit(1 if any(diffs.values()) else 0)


Named = tuple[str | None, str | None]


def _named(common: Named, model: str | None, manifest: str | None) -> Named:
    """Return the model and the manifest that options name for one side."""
    return common if model is None and manifest is None else (model, manifest)


def _with(options: RuleOptions, settings: tuple[str, ...]) -> dict[str, Any]:
    """Return the arguments of a plan, with the settings of one side after those of both."""
    return replace(options, settings=options.settings + settings).arguments()


def _inputs(sample: str | None, input_shape: str | None) -> dict[str, Any]:
    """Return what goes into the models, as arguments of `initdsl.diff`; nothing where they are not run."""
    if sample is not None and input_shape is not None:
        fail("a sample has a shape of its own", "leave out `--input-shape` or `--sample`")
    if sample is not None:
        return {"sample": read_sample(sample)}
    return {} if input_shape is None else {"input_shape": shape_of(input_shape)}


def _compared(
    old: Side, new: Side, arguments: tuple[Mapping[str, Any], Mapping[str, Any]], inputs: Mapping[str, Any]
) -> Diff:
    if inputs and None in (old.model, new.model):
        fail("a description can't be run", "`--sample` and `--input-shape` need `--model`")
    before, after = plans_of(old, new, arguments, bool(inputs))
    return reported(lambda: diff(before, after, **inputs))


def _text(diffs: Diffs, titled: bool, form: str, everything: bool, largest: int, output: str | None) -> str:
    """Return comparisons in a format; `titled`: each with the name of its rule file."""
    if form == "json":
        if not titled:
            return json.dumps(next(iter(diffs.values())).to_dict(), indent=2) + "\n"
        files = {path: found.to_dict() for path, found in diffs.items()}
        about = {"format": DIFFS_FORMAT, "version": DIFFS_VERSION, "changed": any(diffs.values())}
        return json.dumps({**about, "files": files}, indent=2) + "\n"
    if form == "markdown":
        return diffs_markdown(diffs if titled else {"": next(iter(diffs.values()))}, largest)
    if form == "html":
        return diffs_page(diffs)
    paint = _painted if output is None and coloured(sys.stdout) else _plain
    most = {"most": None} if everything else {}
    texts = [diff_text(found, paint, **most) for found in diffs.values()]
    if titled:
        texts = [f"{paint(f'{path}:', 'heading')}\n{_indented(text)}" for path, text in zip(diffs, texts, strict=True)]
    return "\n\n".join(texts) + "\n"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" if line else "" for line in text.split("\n"))


def _plain(line: str, role: str) -> str:
    return line


def _painted(line: str, role: str) -> str:
    if role in ("heading", "summary"):
        return click.style(line, bold=True)
    return click.style(line, fg=COLOURS[role]) if role in COLOURS else line
