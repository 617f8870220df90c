"""The options that several commands share, each declared once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

import click

from initdsl.language.expressions.shapes import EvalError
from initdsl.linter.values import number_of_text

from .console import fail
from .modules import import_code
from .trust import imports_of_settings, model_of_settings, refuse_untrusted, settings_of, trust_option

__all__ = [
    "RuleOptions",
    "format_option",
    "import_initializers",
    "import_option",
    "input_options",
    "manifest_option",
    "model_option",
    "output_option",
    "required_model",
    "rule_options",
    "shape_of",
    "whole_option",
]


LARGEST_SEED = 2**64 - 1


# arguments that are rule files
FILES = ("rules", "old", "new")


CONSTANTS = {"true": True, "false": False, "none": None}


# what `--set` gives a `let` name
Setting = int | float | bool | str | None | tuple[Any, ...]


Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class RuleOptions:
    """What the options of `rule_options` say: `--model m:f --set std=0.01 --seed 7`.

    `settings` are those of `--set`, as written; `rules` is the rule file, whose settings count.
    """

    model: str | None
    settings: tuple[str, ...]
    seed: int | None
    root: str | None
    strict: bool = False
    trust: bool | None = None
    rules: str | None = None

    def required_model(self) -> str:
        """Return the `--model`; exit with 2 where none is given."""
        return required_model(self.model, self.trust, self.rules)

    def variables(self) -> dict[str, Setting]:
        """Return the values of `--set`: numbers, `true`, `false`, `none`, lists of those, or text. Exit with 2 for no value.

        A number may be an expression of numbers, as `1/64`.
        """
        values: dict[str, Setting] = {}
        for setting in self.settings:
            name, equals, text = (part.strip() for part in setting.partition("="))
            if not equals or not name.isidentifier():
                fail(f"`--set {setting}` is not `name=value`")
            try:
                values[name] = _value(text)
            except EvalError as error:
                fail(f"`--set {setting}`: {error}")
        return values

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `initdsl.plan` and `initdsl.apply` that all but `strict` are."""
        return {"seed": self.seed, "vars": self.variables(), "root": self.root}


def _value(text: str) -> Setting:
    if text.startswith("[") and text.endswith("]"):
        return tuple(_value(item.strip()) for item in _items(text[1:-1]))
    if text in CONSTANTS:
        return CONSTANTS[text]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    came_to = None if text.isidentifier() else number_of_text(text)
    return text.strip('"') if came_to is None else came_to


def _items(text: str) -> list[str]:
    """Return what stands between the commas of a list, but not those inside of lists in it; a last comma is fine."""
    items, depth = [""], 0
    for character in text:
        depth += (character == "[") - (character == "]")
        if character == "," and depth == 0:
            items.append("")
        else:
            items[-1] += character
    return items if items[-1].strip() else items[:-1]


def rule_options(
    strict: bool = True, seed_help: str = "Give every parameter a stream of its own."
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of those that lay rules on a model; it gets them as `options`, a RuleOptions."""
    declared = [
        model_option(),
        trust_option(),
        import_option(),
        click.option("--set", "settings", metavar="NAME=VALUE", multiple=True, help="Override a `let`."),
        click.option("--seed", type=click.IntRange(0, LARGEST_SEED), help=seed_help),
        click.option(
            "--root", type=click.Path(file_okay=False), help="The folder that `use` and `load` may not leave."
        ),
    ]
    if strict:
        declared.insert(
            5,
            click.option(
                "--strict",
                is_flag=True,
                help="A parameter that no rule reaches is an error, and so is a rule that selects nothing.",
            ),
        )

    def declare(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def gathered(
            *,
            model: str | None,
            settings: tuple[str, ...],
            seed: int | None,
            root: str | None,
            trust: bool | None,
            imports: tuple[str, ...],
            strict: bool = False,
            **others: Any,
        ) -> Any:
            rules = others.get("rules")
            named = [others[name] for name in FILES if others.get(name) is not None]
            import_initializers(imports, trust, [*named, *others.get("files", ())])
            if rules is not None and others.get("manifest") is None:
                model = model_of_settings(model, trust, lambda: settings_of(rules))
            return command(options=RuleOptions(model, settings, seed, root, strict, trust, rules), **others)

        for option in reversed(declared):
            gathered = option(gathered)
        return gathered

    return declare


def import_option() -> Callable[[Command], Command]:
    """Declare `--import`, which runs Python that registers initializers."""
    text = "Import this module, or .py file, which registers initializers of your own."
    return click.option("--import", "imports", metavar="MODULE", multiple=True, help=text)


def import_initializers(imports: tuple[str, ...], trust: bool | None, rules: Iterable[str]) -> None:
    """Import what `--import` names and, under `--trust`, what the settings of rule files do; exit with 2 where that fails."""
    for place in (*imports, *imports_of_settings(trust, rules)):
        import_code(place)


def model_option(
    text: str = "The model: package.module:attribute or file.py:attribute.",
) -> Callable[[Command], Command]:
    """Declare `--model`, the one option that runs Python."""
    return click.option("--model", metavar="M:F", help=text)


def required_model(model: str | None, trust: bool | None, rules: str | None = None) -> str:
    """Return `--model`, or under `--trust` the model of the settings of a rule file; exit with 2 where neither is there."""
    model = model_of_settings(model, trust, lambda: settings_of(rules))
    if model is None:
        refuse_untrusted(trust, settings_of(rules), "give `--model`")
        fail("`--model` says which model", "as in `--model package.module:attribute`")
    return model


def manifest_option() -> Callable[[Command], Command]:
    """Declare `--manifest`, which stands in for `--model`."""
    return click.option("--manifest", type=click.Path(), help="A description of the model, instead of `--model`.")


def whole_option() -> Callable[[Command], Command]:
    """Declare `--whole`, the model of which the command's is a stage of a pipeline."""
    text = "The whole model, if `--model` is a stage of a pipeline: a manifest (.json), or as `--model`."
    return click.option("--whole", metavar="M:F|FILE.json", help=text)


def format_option(*formats: str) -> Callable[[Command], Command]:
    """Declare `--format`, passed on as `output_format`; the first of the formats is the default."""
    choice = click.Choice(list(formats))
    return click.option("--format", "output_format", type=choice, default=formats[0], show_default=True)


def input_options() -> Callable[[Command], Command]:
    """Declare `--sample` and `--input-shape`, which say what goes into a model that is run."""
    sample = click.option("--sample", type=click.Path(), help="Real input, as tensors of a .safetensors file.")
    text = "The shape of random input, as in 8,3,224,224."
    shape = click.option("--input-shape", metavar="N,N,...", help=text)
    return lambda command: sample(shape(command))


def shape_of(text: str) -> tuple[int, ...]:
    """Return the shape that `--input-shape` says; exit with 2 where it is none."""
    try:
        shape = tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        fail(f"`--input-shape {text}` is no shape", "as in `--input-shape 8,3,224,224`")
    return shape


def output_option() -> Callable[[Command], Command]:
    """Declare `-o`, a file instead of standard output."""
    text = "Write to this file instead of standard output."
    return click.option("-o", "--output", type=click.Path(dir_okay=False), help=text)
