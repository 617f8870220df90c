"""Writes what comes from the code or the grammar: `python docs/generate.py`, or `--print NAME` to only show one file.

Pages of the documentation, the schema of rule sets, the colours of editors, the parser's tables, and, where the
generator of tree-sitter is installed, the C of editors/tree-sitter.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import fields, is_dataclass
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
| torch's own bound of a bias | `Linear.bias ~ uniform(-1 / sqrt(fan_in(weight)), 1 / sqrt(fan_in(weight)))` |
| the bias of an LSTM's forget gates | `LSTM.bias_* = 0`, then `LSTM.bias_ih_*[hidden_size:2 * hidden_size] = 1` |
| the identity in each group of a convolution | `Conv2d.weight = dirac(groups=groups)` |
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
    from initdsl.initializers import type_of

    schema = type_of(item.parameter(name).annotation).json_schema()
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


LINTS = """\
# Lints

What `initdsl lint` finds in rule files. Below the table each has its section, with an example of the mistake, what is
said of it, and what to write instead; `initdsl lint --explain NAME` prints it. A finding is silenced on its line by
`# initdsl: ignore[NAME] reason`, in a file by `# initdsl: ignore-file[NAME]`, in a project by `[tool.initdsl]` in
`pyproject.toml` (`select`, `ignore`, `per-file-ignores`). *Safe* fixes leave the plan as it is and are made by `--fix`;
the others by `--unsafe-fixes`. This page is written from the lints' own documentation by `python docs/generate.py`.

Lints that need a model (`initdsl lint --model` or `--manifest`) show one, made of these:

```python
import torch
from torch import nn
```

| lint | kind | what it does | where it happened |
|---|---|---|---|
"""


def lints() -> str:
    """A table of all lints, with where each mistake was made in public if it was, and a section for each from its docstring."""
    from initdsl.linter.definition import Lint, all_lints

    def row(one: Lint) -> str:
        source = " ".join(one.sections.get("Source", "").split())
        cells = (f"[`{one.name}`](#{one.name})", one.severity, one.summary, source)
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"

    def section(one: Lint) -> str:
        parts = [f"## {one.name}", f"*{one.severity.capitalize()}.* {one.doc.splitlines()[0]}"]
        for heading, text in one.sections.items():
            parts += [f"**{heading}**", _example(one, heading, text)]
        return "\n\n".join(parts)

    found = all_lints().values()
    return LINTS + "".join(map(row, found)) + "\n" + "\n\n".join(map(section, found)) + "\n"


def _example(one: Any, heading: str, text: str) -> str:
    """A part of a lint's documentation; its first rule file with what the linter says of it."""
    if heading not in ("Example", "Use instead"):
        return text
    rules = one.example(heading)
    model = one.sections["Network"].split("```")[1].removeprefix("python") if "Network" in one.sections else None
    said, net = _findings(rules, model), "none" if model is None else "net"
    shown = f"<!-- lint: {net} -->\n```initdsl\n{rules}```" + (f"\n```text\n{said}\n```" if said else "")
    return re.sub(r"```init\n.*?```", lambda _: shown, text, count=1, flags=re.DOTALL)


def _findings(rules: str, model: str | None) -> str:
    """What the linter says of a rule file, on the model that code makes (and its files) or of the file alone."""
    import initdsl

    scope: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        if model is not None:
            exec(f"import torch\nfrom torch import nn\n{model}", scope)
        Path("rules.init").write_text(rules, "utf-8")
        return "\n\n".join(map(str, initdsl.lint("rules.init", scope.get("net"))))


RECIPES = """\
# Recipes, in full

The text of every [recipe](recipes.md), as it is in the package. `use "initdsl:NAME"` takes one into a rule file. The first
line says what it starts and after whom; which library or paper it is held against stands
[there](recipes.md#compared-with-the-libraries). This page is written by `python docs/generate.py`.
"""


def recipes() -> str:
    """Every packaged rule file, highlighted, under its name."""
    from initdsl.language.rules.loader import packaged_recipes

    texts = {name: path.read_text("utf-8").rstrip() for name, path in packaged_recipes().items()}
    order = sorted(texts, key=lambda name: ("\nuse " in texts[name], name))  # what others use comes first
    shown = (
        f"## {name}\n\n<!-- file: {name}.init -->\n<!-- net: none -->\n```initdsl\n{texts[name]}\n```" for name in order
    )
    return "\n\n".join([RECIPES.rstrip(), *shown]) + "\n"


API = """\
# Python, name by name

Every public name, from the docstrings by `python docs/generate.py`; how they are used together is in
[Python](python.md), and `initdsl.integrations` has [a page of its own](integrations.md). The examples share these imports:

```python
import torch
from torch import nn

import initdsl
from initdsl import *
from initdsl.testing import assert_initialized
```
"""

# where the names stand that are no members of `initdsl` itself
FURTHER = {
    "initdsl.testing": "For tests",
    "initdsl.diagnosis": "What a diagnosis is made of",
}


def api() -> str:
    """Every public name: signature, docstring, arguments; members of classes."""
    import initdsl

    every = [(f"initdsl.{name}", getattr(initdsl, name)) for name in sorted(initdsl.__all__, key=str.lower)]
    functions = [one for one in every if inspect.isroutine(one[1])]
    classes = [one for one in every if inspect.isclass(one[1]) and not issubclass(one[1], Exception)]
    errors = [one for one in every if inspect.isclass(one[1]) and issubclass(one[1], Exception)]
    parts = [API.rstrip()]
    for title, names in (("Functions", functions), ("Classes", classes), ("Errors and warnings", errors)):
        parts += [f"## {title}", *(_described(name, value) for name, value in names)]
    for module, title in FURTHER.items():
        there = importlib.import_module(module)
        named = [(f"{module}.{name}", getattr(there, name)) for name in there.__all__ if name not in initdsl.__all__]
        parts += [f"## {title}", *(_described(name, value) for name, value in named)]
    return "\n\n".join(parts) + "\n"


def _described(name: str, value: Any) -> str:
    short = name.rpartition(".")[2]
    parts = [f"### {short}", f"`{name}{_signature(value)}`", _docstring(value)]
    if inspect.isclass(value):
        if is_dataclass(value):
            shown = ", ".join(f"`{field.name}`" for field in fields(value) if field.repr and field.name[0] != "_")
            parts.append(f"Fields: {shown}.")
        for label, member in list(vars(value).items()):
            inner = member.fget if isinstance(member, property) else getattr(member, "func", member)
            inner = getattr(inner, "__func__", inner)
            if label.startswith("_") or not inspect.isfunction(inner) or not inner.__doc__:
                continue
            called = (
                "" if inner is not member and not isinstance(member, classmethod | staticmethod) else _signature(inner)
            )
            parts.append(f"#### {short}.{label}\n\n`.{label}{called}`\n\n{_docstring(inner)}")
    return "\n\n".join(part for part in parts if part)


def _signature(value: Any) -> str:
    """How a function is called. Objects of the classes are what functions return, so theirs is not shown."""
    if inspect.isclass(value):
        return ""
    signature = inspect.signature(value)
    called = [
        p.replace(
            annotation=_Written(p.annotation) if p.annotation is not p.empty else p.empty,
            default=_Written(f"{type(p.default).__name__}()") if is_dataclass(p.default) else p.default,
        )
        for p in signature.parameters.values()
        if p.name not in ("self", "cls")
    ]
    gives = signature.return_annotation
    return str(
        signature.replace(parameters=called, return_annotation=_Written(gives) if isinstance(gives, str) else gives)
    )


class _Written:
    """An annotation or a default, shown as it is written."""

    def __init__(self, annotation: Any):
        self.text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)

    def __repr__(self) -> str:
        return self.text


def _docstring(value: Any) -> str:
    """A docstring as Markdown: its examples as blocks that run."""
    text = inspect.getdoc(value) or ""
    return re.sub(
        r"^>>> .*?(?=\n\n|\Z)", lambda found: f"```python\n{found[0]}\n```", text, flags=re.MULTILINE | re.DOTALL
    )


def text_mate() -> str:
    """The colours of rule files, for editors."""
    from initdsl.language.syntax.highlight import text_mate_json

    return text_mate_json()


def parse_tables() -> str:
    """The parser's tables, which take longer to make from the grammar than to read."""
    from initdsl.language.syntax.grammar import grammar_text
    from initdsl.language.syntax.parser import TABLES, built_parser, read_tables, tables_of

    if read_tables(grammar_text()) is not None:  # their states are numbered anew each time they are made
        return TABLES.read_text("utf-8")
    return tables_of(built_parser(), grammar_text())


ROOT = FOLDER.parent

# what is made, and where it goes; an extension of an editor holds all its files in its folder
MADE: dict[str, tuple[Callable[[], str], list[Path]]] = {
    "initializers.md": (initializers, [FOLDER / "initializers.md"]),
    "lints.md": (lints, [FOLDER / "lints.md"]),
    "recipe-files.md": (recipes, [FOLDER / "recipe-files.md"]),
    "api.md": (api, [FOLDER / "api.md"]),
    "ruleset.schema.json": (schema, [FOLDER / "ruleset.schema.json"]),
    "initdsl.tmLanguage.json": (
        text_mate,
        [
            ROOT / "grammar" / "initdsl.tmLanguage.json",
            ROOT / "editors" / "vscode" / "syntaxes" / "initdsl.tmLanguage.json",
        ],
    ),
    "parse_tables.json": (parse_tables, [ROOT / "initdsl" / "language" / "syntax" / "parse_tables.json"]),
}


TREE_SITTER = ROOT / "editors" / "tree-sitter"


def tree_sitter() -> None:
    """Write the C of the tree-sitter grammar, and of what it was made; in version 14, which every editor reads."""
    subprocess.run(["tree-sitter", "generate", "--abi", "14"], cwd=TREE_SITTER, check=True)
    made = {name: (TREE_SITTER / name).read_bytes() for name in ("grammar.js", "src/parser.c")}
    rows = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in made.items()]
    (TREE_SITTER / "src" / "generated.sha256").write_text("".join(rows), "utf-8")


def main() -> None:
    if sys.argv[1:2] == ["--print"]:
        sys.stdout.write(MADE[sys.argv[2]][0]())
        return
    for make, places in MADE.values():
        text = make()
        for place in places:
            place.write_text(text, "utf-8")
    if shutil.which("tree-sitter"):
        tree_sitter()


if __name__ == "__main__":
    main()
