"""Other libraries' initialization settings, as rule files: mmengine's `init_cfg`, AllenNLP's `initializer`, lists of
regular expressions.

Reads data only: JSON (comments and trailing commas allowed, as jsonnet has them), YAML, and Python literals with
`dict(...)`; nothing is evaluated. What it can't say the same way is an error, not a rule that is nearly right.
"""

from __future__ import annotations

import ast
import json
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from initdsl.formatter.layout import format as laid_out
from initdsl.language.syntax.builder import LARGEST_INT
from initdsl.language.syntax.nodes import linear_regex, quoted
from initdsl.text.diagnostic import Diagnostic, RuleError

__all__ = ["KINDS", "LARGEST", "convert", "read_settings"]


LARGEST = 1 << 20


KINDS = ("mmengine", "allennlp", "regexes")


def convert(settings: Any, kind: str | None = None, *, first_wins: bool = True) -> str:
    """The text of a rule file that does what other settings do.

    `settings` are a text (JSON, YAML or Python literals) or the values themselves. `kind` is "mmengine", "allennlp" or
    "regexes", by default what they look like. Where the first of several regular expressions that fit a name wins
    (AllenNLP; lists of expressions, unless `first_wins` is false), rules come out in reverse order.

    Raises RuleError for an unknown initializer or argument, and for what no rule says the same way.

    >>> print(convert("dict(type='Kaiming', layer='Conv2d', bias=0.5)"), end="")
    # converted from mmengine
    Conv2d+.weight ~ kaiming_normal(mode=fan_out, nonlinearity=relu)
    Conv2d+.bias?  = 0.5
    """
    values = read_settings(settings) if isinstance(settings, str) else settings
    if kind is not None and kind not in KINDS:
        raise _error("unknown-settings", f"no settings are called `{kind}`", f"there are {', '.join(KINDS)}")
    try:
        kind = kind or _kind(values)
        if kind == "mmengine":
            lines = list(_mmengine(values, "net"))
        elif kind == "allennlp":
            lines = _allennlp(values)
        else:
            lines = _regexes(values, first_wins)
    except RecursionError:
        raise _error("bad-settings", "these settings are nested too deeply") from None
    return laid_out(
        "\n".join([f"# converted from {'a list of regular expressions' if kind == 'regexes' else kind}", *lines, ""])
    )


def _error(name: str, message: str, hint: str | None = None) -> RuleError:
    return RuleError(Diagnostic(name, message, hint=hint))


# ---- reading


def read_settings(text: str) -> Any:
    """The values of a text: JSON as jsonnet allows it, Python literals, or YAML where PyYAML is installed."""
    if len(text) > LARGEST:
        raise _error("bad-settings", f"settings have at most {LARGEST:,} characters")
    try:
        return json.loads(_without_trailing_commas(_without_comments(text)))
    except (ValueError, RecursionError):
        pass
    try:
        return _python(text)
    except (
        SyntaxError,
        ValueError,
        TypeError,
        RecursionError,
        MemoryError,
    ):  # what Python says of odd and of deep texts
        pass
    try:
        import yaml
    except ImportError:
        raise _error(
            "bad-settings", "this is neither JSON nor a Python literal", "for YAML, `pip install pyyaml`"
        ) from None
    try:
        found = yaml.load(text, _plain_yaml(yaml))
    except (yaml.YAMLError, ValueError, ArithmeticError, TypeError, AttributeError, KeyError, RecursionError) as error:
        first = str(error).splitlines()[0] if isinstance(error, yaml.YAMLError) else "a value that can't be read"
        raise _error("bad-settings", f"this is neither JSON, nor a Python literal, nor YAML: {first}") from None
    if not isinstance(found, dict | list):
        raise _error("bad-settings", "this is neither JSON, nor a Python literal, nor YAML")
    return found


# what has no end goes to the end of the text, so that every text is read once
STRING = r'"(?:[^"\\]|\\.)*+(?:"|\Z)'


def _without_comments(text: str) -> str:
    comment = r"//[^\n]*+|/\*(?:[^*]|\*(?!/))*+(?:\*/|\Z)"
    return re.sub(rf"({STRING})|{comment}", lambda m: m[1] or "", text, flags=re.DOTALL)


def _without_trailing_commas(text: str) -> str:
    return re.sub(rf"({STRING})|,(\s*+[\]}}])", lambda m: m[1] or m[2], text, flags=re.DOTALL)


def _plain_yaml(yaml: Any) -> Any:
    """PyYAML's safe loader without aliases, by which a short text can stand for an endless one."""

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("aliases (`*name`) are not read, write them out")
            return super().compose_node(parent, index)

    return Loader


def _python(text: str) -> Any:
    """A Python literal, or the literals that a file assigns to names; of a file that has a `model`, that alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Python thinks of somebody's text
        tree = ast.parse(text.strip())
    literals = _Literals()
    if len(tree.body) == 1 and isinstance(tree.body[0], ast.Expr):
        found = literals.value(tree.body[0].value)
        if literals.computed:
            raise ValueError("no literal")
        return found
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                literals.assign(name, value)
    named = {name: value for name, (value, _) in literals.named.items() if not isinstance(value, _Computed)}
    if not named:
        raise ValueError("no literal")
    return {"model": named["model"]} if isinstance(named.get("model"), dict) else named


class _Computed:
    """A value that only running the file would tell: fine as long as no initializer needs it."""

    def __init__(self, source: str):
        self.source = source

    def __repr__(self) -> str:
        return f"`{self.source}`, which is computed"


class _Literals:
    """Python literals; `dict(a=1)` is one, and so is a name that a literal was assigned to further up."""

    def __init__(self) -> None:
        self.named: dict[str, tuple[Any, int]] = {}
        self.computed = False
        self.size = 0  # parts, those of names counted each time: a short text of names can stand for an endless value

    def assign(self, name: str, node: ast.expr) -> None:
        before = self.size
        value = self.value(node)
        self.named[name] = value, self.size - before

    def value(self, node: ast.expr) -> Any:
        self._grow(1)
        match node:
            case ast.Name(id=name) if name in self.named:
                value, size = self.named[name]
                self._grow(size)
                return value
            case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords) if all(k.arg for k in keywords):
                return {str(k.arg): self.value(k.value) for k in keywords}
            case ast.Dict(keys=keys, values=values) if None not in keys:
                return {self.value(k): self.value(v) for k, v in zip(keys, values, strict=True) if k is not None}
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [self.value(item) for item in items]
        try:
            return ast.literal_eval(node)
        except ValueError:
            self.computed = True
            return _Computed(ast.unparse(node)[:80])

    def _grow(self, parts: int) -> None:
        self.size += parts
        if self.size > LARGEST:
            raise _error("bad-settings", f"settings have at most {LARGEST:,} parts, those that names stand for counted")


def _kind(values: Any) -> str:
    if isinstance(values, Mapping):
        if "initializer" in values or "regexes" in values or "prevent_regexes" in values:
            return "allennlp"
        if isinstance(values.get("type"), str) or any(True for _ in _configs(values, "net")):
            return "mmengine"
        model = values.get("model")
        if isinstance(model, Mapping) and "initializer" in model:
            return "allennlp"
        return "regexes" if values and all(isinstance(v, str | Mapping) for v in values.values()) else "mmengine"
    if isinstance(values, Sequence) and not isinstance(values, str) and values:
        if all(isinstance(v, Sequence) and not isinstance(v, str) for v in values):
            return "allennlp"
        if all(isinstance(v, Mapping) and "type" in v and not _pattern(v) for v in values):
            return "mmengine"
        if all(isinstance(v, Mapping) for v in values):
            return "regexes"
    raise _error("bad-settings", "these are no settings of a known kind", f"`--from` names one: {', '.join(KINDS)}")


# ---- calls


def _number(value: Any, name: str = "a value") -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _error("bad-argument", f"{name} must be a number, got {value!r:.200}")
    if isinstance(value, int) and abs(value) > LARGEST_INT:
        raise _error("bad-argument", f"{name} needs more than 64 bits")
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if value != value else "inf" if value > 0 else "-inf"
    return repr(value).replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


class _Arguments:
    """The arguments of one initializer, each taken once; what is left over is an error."""

    def __init__(self, of: str, values: Mapping[str, Any]):
        self.of, self.left = of, dict(values)

    def take(self, name: str, default: Any) -> Any:
        return self.left.pop(name, default)

    def number(self, name: str, default: float | None = None) -> str:
        if default is None and name not in self.left:
            raise _error("bad-argument", f"`{self.of}` needs `{name}`")
        return _number(self.take(name, default), f"`{name}` of `{self.of}`")

    def word(self, name: str, default: str, allowed: Sequence[str]) -> str:
        value = self.take(name, default)
        if value not in allowed:
            raise _error("bad-argument", f"`{name}` of `{self.of}` is one of {', '.join(allowed)}, not {value!r:.200}")
        return str(value)

    def done(self) -> None:
        if self.left:
            raise _error("unknown-argument", f"`{self.of}` has no argument `{next(iter(self.left))}`")


GAINS = (
    "linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "sigmoid",
    "tanh", "relu", "leaky_relu", "selu",
)  # fmt: skip


MODES = ("fan_in", "fan_out")


def _call(name: str, *arguments: str) -> str:
    return f"{name}({', '.join(a for a in arguments if a)})"


def _kaiming(a: _Arguments, distribution: str, mode: str = "fan_in", nonlinearity: str = "leaky_relu") -> str:
    slope, mode = a.number("a", 0), a.word("mode", mode, MODES)
    nonlinearity = a.word("nonlinearity", nonlinearity, GAINS)
    told = [f"a={slope}" if slope not in ("0", "0.0") and nonlinearity == "leaky_relu" else ""]
    told += [
        "" if mode == "fan_in" else f"mode={mode}",
        "" if nonlinearity == "leaky_relu" else f"nonlinearity={nonlinearity}",
    ]
    return _call(f"kaiming_{distribution}", *told)


def _unknown(what: str, name: Any, known: Sequence[str]) -> RuleError:
    near = get_close_matches(str(name), known, 1)
    hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(sorted(known))}"
    return _error("unknown-initializer", f"{what} has no initializer `{name!s:.100}` that could be converted", hint)


# ---- mmengine


def _shape(a: _Arguments) -> str:
    return a.word("distribution", "normal", ("normal", "uniform"))


# the right-hand side for the weight
MMENGINE: dict[str, Callable[[_Arguments], str]] = {
    "Constant": lambda a: f"= {a.number('val')}",
    "Xavier": lambda a: f"~ xavier_{_shape(a)}({'' if (g := a.number('gain', 1)) == '1' else g})",
    "Normal": lambda a: f"~ normal({a.number('mean', 0)}, {a.number('std', 1)})",
    "TruncNormal": lambda a: "~ trunc_normal({}, {}, {}, {})".format(
        a.number("mean", 0), a.number("std", 1), a.number("a", -2), a.number("b", 2)
    ),
    "Uniform": lambda a: f"~ uniform({a.number('a', 0)}, {a.number('b', 1)})",
    "Kaiming": lambda a: f"~ {_kaiming(a, _shape(a), 'fan_out', 'relu')}",
    "Caffe2Xavier": lambda a: "~ kaiming_uniform(a=1)",
}


def _configs(values: Any, place: str) -> Iterator[tuple[str, Any]]:
    """`(where, init_cfg)` for a network's settings and those of its parts, outer ones first."""
    if isinstance(values, Mapping):
        if "init_cfg" in values and values["init_cfg"] is not None:
            yield place, values["init_cfg"]
        for name, part in values.items():
            if name != "init_cfg" and isinstance(part, Mapping):
                below = place if name == "model" and place == "net" else f"{place}{_step(str(name))}"
                yield from _configs(part, below)


def _quoted(text: str) -> str:
    """A text as a rule file writes it."""
    for c in text:
        if "\ud800" <= c <= "\udfff":
            raise _error("bad-settings", f"no rule file can hold the character U+{ord(c):04X} of a name")
    return quoted(text)


def _list(value: Any, what: str) -> list[Any]:
    """The items of a list, one that stands alone, or none."""
    if value is None:
        return []
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, str | Mapping):
        return [value]
    raise _error("bad-settings", f"{what} is a list, not {value!r:.200}")


def _step(name: str) -> str:
    return "".join(f".{part}" if part.isidentifier() else f"[{_quoted(part)}]" for part in name.split("."))


def _mmengine(values: Any, place: str) -> Iterator[str]:
    found = list(_configs(values, place)) or [(place, values)]
    for where, config in found:
        configs = config if isinstance(config, list | tuple) else [config]
        for each in configs:
            if not isinstance(each, Mapping):
                raise _error("bad-settings", f"an `init_cfg` is a dict with a `type`, not {each!r:.200}")
            yield from _one_config(each, where)


def _one_config(config: Mapping[str, Any], place: str) -> Iterator[str]:
    left = dict(config)
    override, layer = left.pop("override", None), left.pop("layer", None)
    inside = "" if place == "net" else f" in {place}"
    layers = _list(layer, "`layer`")
    if left.get("type") == "Pretrained":
        yield _pretrained(left, place)
        return
    weight, bias = _weight_and_bias(left)
    if not layers and override is None:
        yield f"# without `layer` or `override`, mmengine's {left['type']} selects nothing"
    if layers:
        classes = [_class(each) for each in layers]
        yield (
            f"{', '.join(f'{c}+.weight' for c in classes)} {weight}"
            if not inside
            else "\n".join(f"{c}+.weight{inside} {weight}" for c in classes)
        )
        yield from (f"{c}+.bias{inside}? = {bias}" for c in classes)
    for each in _list(override, "`override`"):
        if not isinstance(each, Mapping):
            raise _error("bad-settings", f"an `override` is a dict with a `name`, not {each!r:.200}")
        more = dict(each)
        name = more.pop("name", None)
        if not isinstance(name, str):
            raise _error("bad-settings", f"an `override` needs a `name`: {each!r:.200}")
        if more and "type" not in more:
            raise _error("bad-settings", f"the override of `{name}` has arguments and no `type`")
        more.pop("layer", None)
        target = f"{place}{_step(name)}"
        if more.get("type") == "Pretrained":
            yield _pretrained(more, target)
            continue
        weight, bias = _weight_and_bias(more or left)
        yield f"*.weight in {target} {weight}"
        yield f"*.bias in {target}? = {bias}"


def _weight_and_bias(config: Mapping[str, Any]) -> tuple[str, str]:
    name = config.get("type")
    if not isinstance(name, str) or name not in MMENGINE:
        raise _unknown("mmengine", name, [*MMENGINE, "Pretrained"])
    a = _Arguments(str(name), {k: v for k, v in config.items() if k != "type"})
    bias = a.number("bias", 0)
    prior = a.take("bias_prob", None)
    if prior is not None:
        told = _number(prior, f"`bias_prob` of `{name}`")
        bias = f"-log((1 - {told}) / {told})"
    weight = MMENGINE[str(name)](a)
    a.done()
    return weight, bias


def _class(name: Any) -> str:
    if not isinstance(name, str) or not name.isidentifier():
        raise _error("bad-settings", f"a `layer` is the name of a class, not {name!r:.200}")
    return name


LOADED = (".safetensors", ".pt", ".pth", ".bin")


def _pretrained(config: Mapping[str, Any], place: str) -> str:
    a = _Arguments("Pretrained", {k: v for k, v in config.items() if k != "type"})
    path, prefix = a.take("checkpoint", None), a.take("prefix", None)
    a.take("map_location", None)
    a.done()
    if not isinstance(path, str):
        raise _error("bad-argument", "`Pretrained` needs `checkpoint`")
    if "://" in path or not path.endswith(LOADED):
        raise _error(
            "bad-settings", f"`{path}` is no file that a rule file can load: {', '.join(LOADED)}",
            "save the checkpoint beside the rule file, and name that",
        )  # fmt: skip
    prefix = "" if not prefix else f", prefix={_quoted(prefix if str(prefix).endswith('.') else f'{prefix}.')}"
    return f"{place} = load({_quoted(path)}{prefix}, missing=skip)"


# ---- AllenNLP, and lists of regular expressions


def _scaled(a: _Arguments) -> str:
    gains = {"tanh": "5 / 3 * ", "relu": "sqrt(2) * ", "leaky_relu": "sqrt(2 / 1.0001) * ", "selu": "3 / 4 * "}
    gain = gains.get(a.word("nonlinearity", "linear", GAINS), "")
    bound = f"{gain}sqrt(3 * shape[-1] / numel)"
    return f"~ uniform(-({bound}), {bound})" if gain else f"~ uniform(-{bound}, {bound})"


NAMED: dict[str, Callable[[_Arguments], str]] = {
    "normal": lambda a: f"~ normal({a.number('mean', 0)}, {a.number('std', 1)})",
    "uniform": lambda a: f"~ uniform({a.number('a', 0)}, {a.number('b', 1)})",
    "trunc_normal": lambda a: "~ trunc_normal({}, {}, {}, {})".format(
        a.number("mean", 0), a.number("std", 1), a.number("a", -2), a.number("b", 2)
    ),
    "constant": lambda a: f"= {a.number('val')}",
    "zero": lambda a: "= 0", "zeros": lambda a: "= 0", "ones": lambda a: "= 1",
    "eye": lambda a: "= eye()", "dirac": lambda a: "= dirac()",
    "orthogonal": lambda a: f"~ orthogonal({'' if (g := a.number('gain', 1)) == '1' else g})",
    "xavier_uniform": lambda a: f"~ xavier_uniform({'' if (g := a.number('gain', 1)) == '1' else g})",
    "xavier_normal": lambda a: f"~ xavier_normal({'' if (g := a.number('gain', 1)) == '1' else g})",
    "kaiming_uniform": lambda a: f"~ {_kaiming(a, 'uniform')}",
    "kaiming_normal": lambda a: f"~ {_kaiming(a, 'normal')}",
    "sparse": lambda a: f"~ sparse({a.number('sparsity')}, {a.number('std', 0.01)})",
    "uniform_unit_scaling": _scaled,
    "lstm_hidden_bias": lambda a: "= where(index(0) >= shape[0] // 4 and index(0) < 2 * (shape[0] // 4), 1, 0)",
}  # fmt: skip


def _pattern(value: Mapping[str, Any]) -> str | None:
    return next((k for k in ("pattern", "regex", "name") if isinstance(value.get(k), str)), None)


def _right_side(what: str, value: Any) -> str | None:
    """What follows the selector; None for what is not to be initialized."""
    if isinstance(value, str):
        value = {"type": value}
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"= {_number(value)}"
    if not isinstance(value, Mapping) or "type" not in value:
        raise _error("bad-settings", f"an initializer is a name or has a `type`, not {value!r:.200}")
    name = str(value["type"])
    if name in ("prevent", "skip", "keep"):
        return None
    known = NAMED.get(name.removesuffix("_"))
    if known is None:
        reason = {
            "pretrained": "name its .safetensors file in a rule of your own: `S = load(...)`",
            "block_orthogonal": "write the blocks as a view: `LSTM.weight_hh_l* as (4, hidden_size, -1)[*] ~ orthogonal()`",
        }.get(name)
        if reason:
            raise _error("unknown-initializer", f"{what}'s `{name}` can't be converted", reason)
        raise _unknown(what, name, list(NAMED))
    a = _Arguments(name, {k: v for k, v in value.items() if k != "type"})
    text = known(a)
    a.done()
    return text


def _selector(regex: Any) -> str:
    if not isinstance(regex, str) or not regex:
        raise _error("bad-settings", f"a regular expression is a text, not {regex!r:.200}")
    if not regex.isprintable():
        raise _error("bad-settings", f"{regex!r:.200} is no regular expression that a rule file can hold")
    try:
        linear_regex(regex)
    except ValueError as error:
        raise _error(
            "bad-settings", f"`{regex:.200}` is no regular expression that a rule file can hold: {error}",
            "theirs are RE2's: no look-around, no back-references; write it without, or as a path",
        ) from None  # fmt: skip
    text = re.sub(r"(?<!\\)((?:\\\\)*)/", r"\1\\/", regex)
    return f"/{'(?:)' if text[0] in ' =*' else ''}{text}/?"


def _ordered(what: str, pairs: list[tuple[Any, Any]], prevented: list[Any], first_wins: bool) -> list[str]:
    rules = [(_selector(regex), _right_side(what, value)) for regex, value in pairs]
    if first_wins:
        rules.reverse()  # the last rule wins
    lines = [f"{selector} {right}" if right is not None else f"keep {selector}" for selector, right in rules]
    return [*lines, *(f"keep {_selector(regex)}" for regex in prevented)]


def _allennlp(values: Any) -> list[str]:
    if isinstance(values, Mapping) and isinstance(values.get("model"), Mapping) and "initializer" in values["model"]:
        values = values["model"]
    if isinstance(values, Mapping) and "initializer" in values:
        values = values["initializer"]
    prevented: list[Any] = []
    if isinstance(values, Mapping):
        unknown = sorted(map(str, set(values) - {"regexes", "prevent_regexes", "type"}))
        if unknown:
            raise _error(
                "bad-settings",
                f"an AllenNLP `initializer` has no `{unknown[0]}`",
                "it has `regexes` and `prevent_regexes`",
            )
        prevented = _list(values.get("prevent_regexes"), "`prevent_regexes`")
        values = values.get("regexes")
    pairs = []
    for item in _list(values, "`regexes`"):
        if isinstance(item, str) or not isinstance(item, Sequence) or len(item) != 2:
            raise _error(
                "bad-settings",
                f"an AllenNLP initializer is a pair of a regular expression and a type, not {item!r:.200}",
            )
        regex, value = item
        if value == "prevent" or (isinstance(value, Mapping) and value.get("type") == "prevent"):
            prevented.append(regex)  # wherever it stands, it holds for all
        else:
            pairs.append((regex, value))
    return _ordered("AllenNLP", pairs, prevented, True)


def _regexes(values: Any, first_wins: bool) -> list[str]:
    pairs: list[tuple[Any, Any]] = []
    items = (
        values.items() if isinstance(values, Mapping) else [(None, item) for item in _list(values, "what is converted")]
    )
    for regex, item in items:
        if regex is not None:
            pairs.append((regex, item))
        elif isinstance(item, Sequence) and not isinstance(item, str) and len(item) == 2:
            pairs.append((item[0], item[1]))
        elif isinstance(item, Mapping) and (key := _pattern(item)):
            rest = {k: v for k, v in item.items() if k != key}
            inner = next((rest[k] for k in ("init", "initializer") if k in rest), None)
            if inner is not None:
                more = {k: v for k, v in rest.items() if k not in ("init", "initializer")}
                rest = {**(inner if isinstance(inner, Mapping) else {"type": inner}), **more}
            pairs.append((item[key], rest))
        else:
            raise _error("bad-settings", f"an entry has a `pattern` and a `type`, not {item!r:.200}")
    return _ordered("the list", pairs, [], first_wins)
