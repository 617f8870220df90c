"""Regular expressions with an initializer each, AllenNLP's and plain lists of them, as rules."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from initdsl.language.syntax.regex import linear_regex
from initdsl.text.diagnostic import RuleError

from .calls import GAINS, Arguments, kaiming, number_text, refusal, unknown
from .mmengine import as_list

__all__ = ["allennlp", "pattern_key", "regexes"]


def _scaled(a: Arguments) -> str:
    gains = {"tanh": "5 / 3 * ", "relu": "sqrt(2) * ", "leaky_relu": "sqrt(2 / 1.0001) * ", "selu": "3 / 4 * "}
    gain = gains.get(a.word("nonlinearity", "linear", GAINS), "")
    bound = f"{gain}sqrt(3 * shape[-1] / numel)"
    return f"~ uniform(-({bound}), {bound})" if gain else f"~ uniform(-{bound}, {bound})"


NAMED: dict[str, Callable[[Arguments], str]] = {
    "normal": lambda a: f"~ normal({a.number('mean', 0)}, {a.number('std', 1)})",
    "uniform": lambda a: f"~ uniform({a.number('a', 0)}, {a.number('b', 1)})",
    "trunc_normal": lambda a: "~ trunc_normal({}, {}, {}, {})".format(
        a.number("mean", 0), a.number("std", 1), a.number("a", -2), a.number("b", 2)
    ),
    "constant": lambda a: f"= {a.number('val')}",
    "zero": lambda a: "= 0",
    "zeros": lambda a: "= 0",
    "ones": lambda a: "= 1",
    "eye": lambda a: "= eye()",
    "dirac": lambda a: "= dirac()",
    "orthogonal": lambda a: f"~ orthogonal({'' if (g := a.number('gain', 1)) == '1' else g})",
    "xavier_uniform": lambda a: f"~ xavier_uniform({'' if (g := a.number('gain', 1)) == '1' else g})",
    "xavier_normal": lambda a: f"~ xavier_normal({'' if (g := a.number('gain', 1)) == '1' else g})",
    "kaiming_uniform": lambda a: f"~ {kaiming(a, 'uniform')}",
    "kaiming_normal": lambda a: f"~ {kaiming(a, 'normal')}",
    "sparse": lambda a: f"~ sparse({a.number('sparsity')}, {a.number('std', 0.01)})",
    "uniform_unit_scaling": _scaled,
    "lstm_hidden_bias": lambda a: "= where(index(0) >= shape[0] // 4 and index(0) < 2 * (shape[0] // 4), 1, 0)",
}


def pattern_key(value: Mapping[str, Any]) -> str | None:
    """Return the key under which settings have a regular expression; None where they have none."""
    return next((k for k in ("pattern", "regex", "name") if isinstance(value.get(k), str)), None)


def _right_side(what: str, value: Any) -> str | None:
    """Return what follows the selector; None for what is not to be initialized. `what` says whose initializer it is."""
    if isinstance(value, str):
        value = {"type": value}
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"= {number_text(value)}"
    if not isinstance(value, Mapping) or "type" not in value:
        raise refusal("bad-settings", f"an initializer is a name or has a `type`, not {value!r:.200}")
    name = str(value["type"])
    if name in ("prevent", "skip", "keep"):
        return None
    call = NAMED.get(name.removesuffix("_"))
    if call is None:
        reason = {
            "pretrained": "name its .safetensors file in a rule of your own: `S = load(...)`",
            "block_orthogonal": "write the blocks as a view: `LSTM.weight_hh_l* as (4, hidden_size, -1)[*] ~ orthogonal()`",
        }.get(name)
        if reason:
            raise refusal("unknown-initializer", f"{what}'s `{name}` can't be converted", reason)
        raise unknown(what, name, list(NAMED))
    a = Arguments(name, {k: v for k, v in value.items() if k != "type"})
    text = call(a)
    a.done()
    return text


def _selector(regex: Any) -> str:
    if not isinstance(regex, str) or not regex:
        raise refusal("bad-settings", f"a regular expression is a text, not {regex!r:.200}")
    if not regex.isprintable():
        raise refusal("bad-settings", f"{regex!r:.200} is no regular expression that a rule file can hold")
    try:
        linear_regex(regex)
    except ValueError as error:
        raise refusal(
            "bad-settings",
            f"`{regex:.200}` is no regular expression that a rule file can hold: {error}",
            "theirs are RE2's: no look-around, no back-references; write it without, or as a path",
        ) from None
    text = re.sub(r"(?<!\\)((?:\\\\)*)/", r"\1\\/", regex)
    return f"/{'(?:)' if text[0] in ' =*' else ''}{text}/?"


def _ordered(what: str, pairs: list[tuple[Any, Any]], prevented: list[Any], first_wins: bool) -> list[str]:
    rules, problems = [], []
    for regex, value in pairs:
        try:
            rules.append((_selector(regex), _right_side(what, value)))
        except RuleError as error:  # all that is wrong is said at once
            problems += [found for found in error.diagnostics if found not in problems]
    if problems:
        raise RuleError(problems)
    if first_wins:
        rules.reverse()  # the last rule wins
    lines = [f"{selector} {right}" if right is not None else f"keep {selector}" for selector, right in rules]
    return [*lines, *(f"keep {_selector(regex)}" for regex in prevented)]


def allennlp(values: Any) -> list[str]:
    """Return the rules of AllenNLP's `initializer`, of a model's settings or alone."""
    if isinstance(values, Mapping) and isinstance(values.get("model"), Mapping) and "initializer" in values["model"]:
        values = values["model"]
    if isinstance(values, Mapping) and "initializer" in values:
        values = values["initializer"]
    prevented: list[Any] = []
    if isinstance(values, Mapping):
        further = sorted(map(str, set(values) - {"regexes", "prevent_regexes", "type"}))
        if further:
            raise refusal(
                "bad-settings",
                f"an AllenNLP `initializer` has no `{further[0]}`",
                "it has `regexes` and `prevent_regexes`",
            )
        prevented = as_list(values.get("prevent_regexes"), "`prevent_regexes`")
        values = values.get("regexes")
    pairs = []
    for item in as_list(values, "`regexes`"):
        if isinstance(item, str) or not isinstance(item, Sequence) or len(item) != 2:
            raise refusal(
                "bad-settings",
                f"an AllenNLP initializer is a pair of a regular expression and a type, not {item!r:.200}",
            )
        regex, value = item
        if value == "prevent" or (isinstance(value, Mapping) and value.get("type") == "prevent"):
            prevented.append(regex)  # wherever it stands, it holds for all
        else:
            pairs.append((regex, value))
    return _ordered("AllenNLP", pairs, prevented, True)


def regexes(values: Any, first_wins: bool) -> list[str]:
    """Return the rules of a list or mapping of regular expressions; with `first_wins` the first that fits a name."""
    pairs: list[tuple[Any, Any]] = []
    items = (
        values.items()
        if isinstance(values, Mapping)
        else [(None, item) for item in as_list(values, "what is converted")]
    )
    for regex, item in items:
        if regex is not None:
            pairs.append((regex, item))
        elif isinstance(item, Sequence) and not isinstance(item, str) and len(item) == 2:
            pairs.append((item[0], item[1]))
        elif isinstance(item, Mapping) and (key := pattern_key(item)):
            rest = {k: v for k, v in item.items() if k != key}
            inner = next((rest[k] for k in ("init", "initializer") if k in rest), None)
            if inner is not None:
                more = {k: v for k, v in rest.items() if k not in ("init", "initializer")}
                rest = {**(inner if isinstance(inner, Mapping) else {"type": inner}), **more}
            pairs.append((item[key], rest))
        else:
            raise refusal("bad-settings", f"an entry has a `pattern` and a `type`, not {item!r:.200}")
    return _ordered("the list", pairs, [], first_wins)
