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

## Fans

Fans are torch's, read off the shape. Some layers compute with others; there `fan_in=` and `fan_out=` say which, in every
initializer that reads fans. They are expressions, so they may use the shape's own fans and the module's attributes:

| tensor | the shape's | the layer's | written |
|---|---|---|---|
| `Linear`, `Conv1d`, `Conv2d`, `Conv3d` | `fan_in` | the same | |
| | `fan_out` | the same for stride 1 | `fan_out=fan_out / (stride[0] * stride[1])` |
| grouped and depthwise convolutions | `fan_in` | the same | |
| | `fan_out`: all groups | one group | `fan_out=fan_out // groups` |
| `ConvTranspose2d` | swapped: `fan_in` counts outputs | inputs of one group that meet in an output | `fan_in=in_channels // groups * kernel_size[0] * kernel_size[1] / (stride[0] * stride[1])` |
| transformers' `Conv1D`, stored (in, out) | swapped | `fan_in` is dimension 0 | `fan_in=fan_out, fan_out=fan_in` |
| `Embedding` | `fan_in`: the width | 1: a look-up adds nothing up | `fan_in=1` |
| q, k and v in one matrix | `fan_in` | the same | |
| | `fan_out`: all three | one matrix's | `fan_out=fan_out / 3`, or a view: `as (3, embed_dim, -1)[*]` |
| gates of an `LSTM` in one matrix | `fan_out`: all four | one gate's | `as (4, hidden_size, -1)[*]` |
| experts in one tensor (E, out, in) | read as a convolution | each matrix's | `[*]` |

A plan notes where the shape's fans are known to be wrong. JAX's and Keras's `he_normal` and `glorot_normal` are
truncated, and torch's Kaiming and Xavier are not: here `he_*` and `glorot_*` are other names of torch's, and the
truncated ones are `variance_scaling(2)` and `variance_scaling(mode=fan_avg)`.

## Said with an expression

What a view or an expression says has no name of its own:

| | |
|---|---|
| an orthogonal matrix a gate | `LSTM.weight_hh_l* as (4, hidden_size, -1)[*] ~ orthogonal()` |
| an orthogonal matrix a head, along the inputs | `net.out.weight as (embed_dim, num_heads, -1)[:, *] ~ orthogonal()` |
| identity with noise | `~ eye() + normal(0, 0.01)`, `~ dirac() + normal(0, 0.01)` |
| sub-pixel (ICNR) form of any draw | `X.weight as (out_channels // 4, 4, -1) = it[:, 0:1]` after it |
| a gain from `torch.nn.init` | `~ xavier_uniform(gain=calculate_gain(tanh))` |
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
