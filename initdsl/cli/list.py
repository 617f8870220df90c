"""`initdsl list`: the initializers, recipes and lints there are."""

from __future__ import annotations

import json
from shutil import get_terminal_size

import click

from initdsl.initializers import default_registry
from initdsl.language.rules.loader import packaged_recipes
from initdsl.linter import all_lints
from initdsl.text.tables import described

from .options import format_option, import_initializers, import_option

# longer lines are hard to read
WIDEST = 100


@click.command("list")
@click.argument("kind", type=click.Choice(["initializers", "recipes", "lints"]))
@import_option()
@format_option("text", "json")
def command(kind: str, imports: tuple[str, ...], output_format: str) -> None:
    """List initializers with their arguments, packaged recipes, or lints."""
    import_initializers(imports, None, ())
    rows = {"initializers": _initializers, "recipes": _recipes, "lints": _lints}[kind]()
    if output_format == "json":
        click.echo(json.dumps({"format": f"initdsl-{kind}", "version": 1, kind: rows}, indent=2))
        return
    width = min(get_terminal_size().columns, WIDEST)
    for line in described([(str(row.get("signature", row["name"])), str(row["summary"])) for row in rows], width):
        click.echo(line)


def _initializers() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for name, initializer in default_registry().items():
        is_alias = name != initializer.name
        rows.append(
            {
                "name": name,
                "signature": name if is_alias else initializer.signature,
                "summary": f"another name of {initializer.name}" if is_alias else initializer.summary,
                "draws": initializer.draws,
                "arguments": [
                    {"name": p.name, "default": p.default, "required": p.required, "choices": list(p.choices)}
                    for p in initializer.parameters
                ],
            }
        )
    return rows


def _recipes() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for name, path in packaged_recipes().items():
        first_line = path.read_text("utf-8").partition("\n")[0]
        rows.append({"name": f"initdsl:{name}", "summary": first_line.removeprefix("#").strip()})
    return rows


def _lints() -> list[dict[str, object]]:
    return [{"name": lint.name, "summary": lint.summary} for lint in all_lints().values()]
