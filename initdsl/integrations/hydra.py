"""A rule file named in a Hydra or OmegaConf configuration (or in any mapping).

The configuration holds data: a path, a seed, numbers. Nothing in it is imported or called.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from torch import nn

from initdsl.api.apply import apply
from initdsl.api.report import Report
from initdsl.text.diagnostic import Diagnostic, RuleError
from initdsl.text.wording import did_you_mean

__all__ = ["apply_config"]


KEYS = ("rules", "seed", "vars", "strict", "root")


def apply_config(net: nn.Module, config: Any, **options: Any) -> Report:
    """Fill a network by the rule file that a configuration names.

    `config` is a path (`init/gpt2.init`), or has `rules`, a path, and maybe `seed`, `vars`, `strict` and `root`, which
    are those of `initdsl.apply`; further `options` go there too. A relative path is relative to the folder the program
    was started in, also where Hydra has changed into another.

    Raises RuleError for a key that is none of these, and what `initdsl.apply` raises.

    >>> from omegaconf import OmegaConf
    >>> config = OmegaConf.create({"init": {"rules": "mlp.init", "seed": 0, "vars": {"std": "${std}"}}, "std": 0.02})
    >>> apply_config(nn.Linear(2, 2), config.init)  # doctest: +SKIP
    """
    values = _plain(config)
    if isinstance(values, str | os.PathLike):
        values = {"rules": values}
    if not isinstance(values, Mapping):
        raise TypeError(f"a configuration is a path or has `rules`, this is {type(config).__name__}")
    for key in values:
        if key not in KEYS:
            hint = did_you_mean(str(key), KEYS) or f"there are {', '.join(KEYS)}"
            raise RuleError(Diagnostic("unknown-setting", f"`{key}` is no setting of a rule file", hint=hint))
    rules = values.get("rules")
    if not isinstance(rules, str | os.PathLike) or not os.fspath(rules).endswith(".init"):
        raise RuleError(Diagnostic("bad-argument", f"`rules` is the path of an .init file, not {rules!r}"))
    given = {key: value for key, value in values.items() if key != "rules" and value is not None}
    if "root" in given:
        given["root"] = _absolute(given["root"])
    return apply(net, _absolute(rules), **{**given, **options})


def _plain(config: Any) -> Any:
    """A configuration's values, with what they refer to filled in."""
    omegaconf = sys.modules.get("omegaconf")
    if omegaconf is not None and omegaconf.OmegaConf.is_config(config):
        return omegaconf.OmegaConf.to_container(config, resolve=True)
    return config


def _absolute(path: str | os.PathLike[str]) -> str:
    hydra = sys.modules.get("hydra.utils")
    return str(hydra.to_absolute_path(os.fspath(path))) if hydra is not None else os.path.abspath(path)
