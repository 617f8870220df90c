"""A rule file named in a Hydra or OmegaConf configuration: `initdsl.apply(net, **config.init)`, with keys and paths checked.

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
    """Fill a model by the rule file that a configuration names; return what `initdsl.apply` returns.

    `config` is a path (`init/gpt2.init`), or has `rules`, a path, and maybe `seed`, `vars`, `strict` and `root`, which
    are those of `initdsl.apply`; further `options` go there too. A relative path is relative to the folder the program
    was started in, also where Hydra has changed into another.

    Raises RuleError for a key that is none of these, and what `initdsl.apply` raises.

    >>> from omegaconf import OmegaConf
    >>> config = OmegaConf.create({"init": {"rules": "mlp.init", "seed": 0, "vars": {"std": "${std}"}}, "std": 0.02})
    >>> apply_config(nn.Linear(2, 2), config.init)  # doctest: +SKIP
    """
    settings = _without_references(config)
    if isinstance(settings, str | os.PathLike):
        settings = {"rules": settings}
    if not isinstance(settings, Mapping):
        raise TypeError(f"a configuration is a path or has `rules`, this is {type(config).__name__}")
    for key in settings:
        if key not in KEYS:
            hint = did_you_mean(str(key), KEYS) or f"there are {', '.join(KEYS)}"
            raise RuleError(Diagnostic("unknown-setting", f"`{key}` is no setting of a rule file", hint=hint))
    rules = settings.get("rules")
    if not isinstance(rules, str | os.PathLike) or not os.fspath(rules).endswith(".init"):
        raise RuleError(Diagnostic("bad-argument", f"`rules` is the path of an .init file, not {rules!r}"))
    arguments = {key: value for key, value in settings.items() if value is not None}
    paths = {key: _from_the_start(arguments[key]) for key in ("rules", "root") if key in arguments}
    return apply(net, **{**arguments, **paths, **options})


def _without_references(config: Any) -> Any:
    """Return the plain values of a configuration, what `${...}` refers to filled in."""
    omegaconf = sys.modules.get("omegaconf")
    if omegaconf is not None and omegaconf.OmegaConf.is_config(config):
        return omegaconf.OmegaConf.to_container(config, resolve=True)
    return config


def _from_the_start(path: str | os.PathLike[str]) -> str:
    """Return the absolute form of a path that is relative to the folder the program was started in."""
    hydra = sys.modules.get("hydra.utils")
    return str(hydra.to_absolute_path(os.fspath(path))) if hydra is not None else os.path.abspath(path)
