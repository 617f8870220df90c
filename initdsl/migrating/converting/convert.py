"""Other libraries' initialization settings, as rule files: mmengine's `init_cfg`, AllenNLP's `initializer`, lists of
regular expressions.

Reads data only: JSON (comments and trailing commas allowed, as jsonnet has them), YAML, and Python literals with
`dict(...)`; nothing is evaluated. What it can't say the same way is an error, not a rule that is nearly right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from initdsl.formatter.layout import format as laid_out

from .calls import refusal
from .mmengine import init_configs, mmengine
from .read import read_settings
from .regexes import allennlp, pattern_key, regexes

__all__ = ["KINDS", "convert"]


KINDS = ("mmengine", "allennlp", "regexes")


def convert(settings: Any, kind: str | None = None, *, first_wins: bool = True) -> str:
    """Return the text of a rule file that does what other settings do.

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
        raise refusal("unknown-settings", f"no settings are called `{kind}`", f"there are {', '.join(KINDS)}")
    try:
        kind = kind or _kind(values)
        if kind == "mmengine":
            lines = list(mmengine(values, "net"))
        elif kind == "allennlp":
            lines = allennlp(values)
        else:
            lines = regexes(values, first_wins)
    except RecursionError:
        raise refusal("bad-settings", "these settings are nested too deeply") from None
    return laid_out(
        "\n".join([f"# converted from {'a list of regular expressions' if kind == 'regexes' else kind}", *lines, ""])
    )


def _kind(values: Any) -> str:
    if isinstance(values, Mapping):
        if "initializer" in values or "regexes" in values or "prevent_regexes" in values:
            return "allennlp"
        if isinstance(values.get("type"), str) or any(True for _ in init_configs(values, "net")):
            return "mmengine"
        model = values.get("model")
        if isinstance(model, Mapping) and "initializer" in model:
            return "allennlp"
        return "regexes" if values and all(isinstance(v, str | Mapping) for v in values.values()) else "mmengine"
    if isinstance(values, Sequence) and not isinstance(values, str) and values:
        if all(isinstance(v, Sequence) and not isinstance(v, str) for v in values):
            return "allennlp"
        if all(isinstance(v, Mapping) and "type" in v and not pattern_key(v) for v in values):
            return "mmengine"
        if all(isinstance(v, Mapping) for v in values):
            return "regexes"
    raise refusal("bad-settings", "these are no settings of a known kind", f"`--from` names one: {', '.join(KINDS)}")
