"""Rule files in notebooks: a `%%initdsl` cell shows the plan of its rules, and applies them to a model.

>>> from IPython.core.interactiveshell import InteractiveShell
>>> from torch import nn
>>> shell = InteractiveShell.instance()
>>> shell.run_line_magic("load_ext", "initdsl")
>>> shell.user_ns["net"] = nn.Linear(3, 2)
>>> report = shell.run_cell_magic("initdsl", "net --seed 7 --quiet", "Linear.weight ~ normal(0, 0.02); Linear.bias = 0")
>>> print(report["bias"])
Init net.bias [2] = 0
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, cell_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring
from IPython.display import display
from torch import nn

from initdsl.api.apply import apply
from initdsl.api.plan import plan
from initdsl.api.report import Report
from initdsl.text.diagnostic import InitDSLError, UncoveredParameterWarning
from initdsl.text.wording import did_you_mean

__all__ = ["RuleMagics", "load_ipython_extension"]


@magics_class
class RuleMagics(Magics):
    """The magic of cells that hold rules."""

    @magic_arguments()
    @argument("model", help="The name of the model in this notebook, or of an attribute: `net`, `trainer.model`.")
    @argument("--plan", dest="only_plan", action="store_true", help="Show the plan and change nothing.")
    @argument("--seed", type=int, help="Give every parameter a stream of its own.")
    @argument("--strict", action="store_true", help="A parameter that no rule reaches is an error.")
    @argument(
        "--set",
        dest="values",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="Override a `let`; VALUE is a number or a name of this notebook.",
    )
    @argument("--quiet", action="store_true", help="Show no plan.")
    @cell_magic
    def initdsl(self, line: str, cell: str) -> Report | None:
        """Show the plan of the rules in this cell, then apply them to a model.

        The cell's value is the report; without `--quiet` it is kept in `_report` and the plan is shown instead. A mistake
        in the rules is shown without a traceback, and nothing is changed.
        """
        given = parse_argstring(self.initdsl, line)
        names: dict[str, Any] = self.shell.user_ns  # type: ignore[union-attr]
        net = model_of(given.model, names)
        options = {"seed": given.seed, "strict": given.strict, "vars": values_of(given.values, names)}
        try:
            made = plan(net, cell, **options)
            if not given.quiet:
                display({"text/plain": str(made), "text/html": made._repr_html_()}, raw=True)
            if given.only_plan:
                return None
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UncoveredParameterWarning)  # the plan shows them
                report = apply(net, cell, **options)
        except (InitDSLError, KeyError, ValueError) as error:
            raise UsageError(str(error.args[0] if isinstance(error, KeyError) else error)) from None
        names["_report"] = report
        return report if given.quiet else None


def model_of(path: str, names: Mapping[str, Any]) -> nn.Module:
    """Return the model that a dotted path of the notebook's names leads to."""
    first, *others = path.split(".")
    if first not in names:
        known = [name for name, value in names.items() if isinstance(value, nn.Module)]
        hint = did_you_mean(first, known)
        raise UsageError(f"there is no `{first}` in this notebook" + (f"; {hint}" if hint else ""))
    value = names[first]
    for name in others:
        if not hasattr(value, name):
            raise UsageError(f"there is no `{name}` in `{first}`")
        first, value = f"{first}.{name}", getattr(value, name)
    if not isinstance(value, nn.Module):
        raise UsageError(f"`{path}` is no nn.Module, it is of type {type(value).__name__}")
    return value


def values_of(pairs: list[str], names: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of `NAME=VALUE` pairs: numbers, or what a name stands for in the notebook."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"`{pair}` is not of the form NAME=VALUE")
        try:
            found[name] = names[text] if text in names else float(text)
        except ValueError:
            raise UsageError(f"`{text}` is no number, and no name of this notebook") from None
    return found


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magic; `%load_ext initdsl` calls this."""
    shell.register_magics(RuleMagics)
