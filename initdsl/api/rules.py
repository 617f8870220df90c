"""`RuleSet` with what one does with it, and `parse` and `load`, which make one."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from initdsl.language.rules import loader, ruleset
from initdsl.language.syntax.state import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from initdsl.filling.meta.init_fn import InitFn

__all__ = ["RuleSet", "load", "parse"]


class RuleSet(ruleset.RuleSet):
    __doc__ = ruleset.RuleSet.__doc__

    def as_init_fn(self, net: Any, **options: Any) -> InitFn:
        """A function for `net.apply` or FSDP's `param_init_fn`: fills a module's own parameters by these rules.

        The rules are resolved against the whole of `net` now; each call fills the parameters (and the buffers that
        rules name) of the module it is given, and of no other. The options are `seed`, `vars`, `strict`, `on_init`,
        `initializers`, `root`, `whole`, which are those of `initdsl.apply`, and `device`: there a module's own parameters get
        memory first if they are on the meta device.

        Raises what `initdsl.plan` raises, and ResolveError where a rule reads another module's values.

        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> net.apply(parse("Linear.weight ~ normal(0, 0.01); Linear.bias = 0").as_init_fn(net))[2].bias.tolist()
        [0.0, 0.0]
        """
        from initdsl.filling.meta.init_fn import as_init_fn

        return as_init_fn(net, self, **options)

    def as_param_init(self, net: Any, **options: Any) -> dict[str, dict[str, Callable[[Any], None]]]:
        """Functions of one parameter each, as torchtitan's `param_init`: by the module's name, then by the parameter's.

        `net` is a model, or a part of one, that is parallelized already; the options are those of `as_init_fn`. A module is
        filled whole when the first of its parameters is asked for, again at each pass. Modules without parameters are left
        out.

        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
        >>> functions = parse("Linear.weight = 1; Linear.bias = 0").as_param_init(net)
        >>> for name, parameter in net[0].named_parameters():
        ...     functions["0"][name](parameter)
        >>> net[0].weight.mean().item()
        1.0
        """
        from initdsl.filling.meta.param_init import param_init

        return param_init(net, self, **options)


def _with_verbs(rules: ruleset.RuleSet) -> RuleSet:
    return RuleSet.model_construct(**{name: getattr(rules, name) for name in ruleset.RuleSet.model_fields})


def parse(text: str, *, limits: Limits = DEFAULT_LIMITS) -> RuleSet:
    """The rule set of a text; `use` is recorded, not followed.

    Raises ParseError with every syntax error of the text.

    >>> len(parse("Linear.weight ~ normal(0, 0.01); Linear.bias = 0"))
    2
    """
    return _with_verbs(loader.parse(text, limits=limits))


def load(
    path: str | os.PathLike[str], *, root: str | os.PathLike[str] | None = None, limits: Limits = DEFAULT_LIMITS
) -> RuleSet:
    """The rule set of a file, with every `use` followed.

    `use` and `load` may not leave `root`, by default the folder of the file.
    Raises ParseError (syntax, of any of the files) or RuleError (a file that can't be used).
    """
    return _with_verbs(loader.load(path, root=root, limits=limits))
