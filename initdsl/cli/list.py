"""`initdsl list`: the initializers, recipes and lints there are."""

from __future__ import annotations

import json

import click

from initdsl.text.tables import aligned


@click.command("list")
@click.argument("kind", type=click.Choice(["initializers", "recipes", "lints"]))
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(kind: str, form: str) -> None:
    """List what rule files can name: initializers with their arguments, packaged recipes, or the linter's lints."""
    rows = {"initializers": _initializers, "recipes": _recipes, "lints": _lints}[kind]()
    if form == "json":
        click.echo(json.dumps({"format": f"initdsl-{kind}", "version": 1, kind: rows}, indent=2))
        return
    for line in aligned([(str(row.get("signature", row["name"])), str(row["summary"])) for row in rows]):
        click.echo(line)


def _initializers() -> list[dict[str, object]]:
    from initdsl.initializers import default_registry

    registry = default_registry()
    return [
        {
            "name": name, "signature": item.signature if name == item.name else name,
            "summary": item.summary if name == item.name else f"another name of {item.name}", "draws": item.draws,
            "arguments": [
                {"name": p.name, "default": p.default, "required": p.required, "choices": list(p.choices)}
                for p in item.parameters
            ],
        }
        for name, item in registry.items()
    ]  # fmt: skip


def _recipes() -> list[dict[str, object]]:
    from initdsl.language.rules.loader import packaged_recipes

    rows: list[dict[str, object]] = []
    for name, path in packaged_recipes().items():
        first = path.read_text("utf-8").partition("\n")[0]
        rows.append({"name": f"initdsl:{name}", "summary": first.removeprefix("#").strip()})
    return rows


def _lints() -> list[dict[str, object]]:
    from initdsl.linter import all_lints

    return [{"name": lint.name, "summary": lint.summary} for lint in all_lints().values()]
