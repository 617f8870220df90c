"""Writes the pages that come from the code: `python docs/generate.py`, or `--print NAME` to only show one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent

OPENING = """\
# Initializers

What a rule file can call. This page is written from the registry by `python docs/generate.py`; `initdsl list
initializers` shows the same for what is installed, functions that Python code registers included
([initializers of your own](python.md#initializers-of-your-own)).

A call takes its arguments by position or by name, and enumerations as bare words: `kaiming_normal(mode=fan_out)`.
Fans are torch's: dimension 0 of a weight counts the outputs, dimension 1 the inputs, and what follows is the receptive
field. What *draws* stands after `~`, what *sets* after `=`.
"""

SHAPE = (256, 128)


def initializers() -> str:
    """One section for every built-in initializer, in the order of the registry."""
    from initdsl.initializers import Initializer, default_registry

    def section(item: Initializer) -> str:
        aliases = f", also called {', '.join(f'`{alias}`' for alias in item.aliases)}" if item.aliases else ""
        parts = [f"## {item.name}", f"`{item.signature}` {'draws' if item.draws else 'sets'}{aliases}.", item.doc]
        rows = [f"| `{p.name}` | {_values(item, p.name)} | {_default(p)} |" for p in item.parameters]
        if rows:
            parts.append("\n".join(["| argument | takes | default |", "|---|---|---|", *rows]))
        if item.elementwise and "fan" in item.doc:
            arguments = {p.name: p.default for p in item.parameters}
            parts.append(f"A weight of shape {list(SHAPE)} gets `{item.distribution(SHAPE, arguments)}`.")
        return "\n\n".join(parts)

    found = [item for name, item in default_registry().items() if item.builtin and name == item.name]
    return "\n\n".join([OPENING.rstrip(), *map(section, found)]) + "\n"


def _values(item: Any, name: str) -> str:
    """The values an argument takes, read off its schema."""
    schema = item.model.model_json_schema()["properties"][name]
    options = schema.get("anyOf", [schema])
    return " or ".join(_kind(option) for option in options)


def _kind(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{word}`" for word in schema["enum"])
    words = {"number": "a number", "integer": "an integer", "null": "`none`", "boolean": "`true` or `false`"}
    bounds = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    limits = [f"{text} {schema[key]:g}" for key, text in bounds.items() if key in schema]
    return f"{words[schema['type']]} {' and '.join(limits)}".strip()


def _default(parameter: Any) -> str:
    if parameter.required:
        return "(required)"
    value = parameter.default
    return f"`{'none' if value is None else f'{value:g}' if isinstance(value, float) else value}`"


def schema() -> str:
    """The JSON schema of a rule set; closed everywhere, which only pydantic 2.14 and later says by itself."""
    from initdsl import RuleSet

    made = {"$schema": "https://json-schema.org/draft/2020-12/schema", **RuleSet.model_json_schema()}
    for definition in made["$defs"].values():
        if "properties" in definition:
            definition["additionalProperties"] = False
    return json.dumps(made, indent=1, sort_keys=True) + "\n"


MADE: dict[str, Callable[[], str]] = {"initializers.md": initializers, "ruleset.schema.json": schema}


def main() -> None:
    if sys.argv[1:2] == ["--print"]:
        sys.stdout.write(MADE[sys.argv[2]]())
        return
    for name, make in MADE.items():
        (FOLDER / name).write_text(make(), "utf-8")


if __name__ == "__main__":
    main()
