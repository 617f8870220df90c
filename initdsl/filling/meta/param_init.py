"""Rules as torchtitan's `param_init`: a function for each parameter of a module, which `init_states` calls.

for name, functions in rules.as_param_init(model, seed=7, whole=whole).items():
    model.get_submodule(name)._param_init = functions
model.to_empty(device=device)
model.init_states()
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from initdsl.language.rules.loader import Rules
from initdsl.text.diagnostic import Diagnostic, ResolveError

from .init_fn import InitFn, as_init_fn

__all__ = ["param_init"]


def param_init(net: nn.Module, rules: Rules, **options: Any) -> dict[str, dict[str, Callable[[Any], None]]]:
    """See `RuleSet.as_param_init`."""
    fill = as_init_fn(net, rules, **options)
    functions: dict[str, dict[str, Callable[[Any], None]]] = {}
    for name, module in net.named_modules():
        own = [local for local, _ in module.named_parameters(recurse=False)]
        if own:
            functions[name] = {local: _filling(fill, module, local, local == own[0]) for local in own}
    return functions


def _filling(fill: InitFn, module: nn.Module, local: str, first: bool) -> Callable[[Any], None]:
    """Return the function of one parameter; that of the first one of a module fills them all."""

    def filled(parameter: nn.Parameter) -> None:
        if module._parameters.get(local) is not parameter:
            message = (
                f"this parameter is not the `{local}` of the `{type(module).__name__}` that the function was made for"
            )
            hint = "make the functions from the model whose states are initialized, once it is parallelized"
            raise ResolveError(Diagnostic("unknown-module", message, hint=hint))
        if first:
            fill(module)

    return filled
