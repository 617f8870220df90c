"""Rule files in Lightning: a callback that fills a module once its layers are there.

For `lightning` and `pytorch_lightning` (2.1 and later), whichever is imported, `lightning` first.
"""

from __future__ import annotations

import importlib
import sys
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from initdsl.api.apply import apply
from initdsl.api.report import Report
from initdsl.language.rules.loader import Rules

__all__ = ["ApplyRules"]


def _callback_class() -> Any:
    """Return the `Callback` of the library that the program uses."""
    old_alone = "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules
    names = ("pytorch_lightning", "lightning.pytorch") if old_alone else ("lightning.pytorch", "pytorch_lightning")
    for name in names:
        try:
            return importlib.import_module(name).Callback
        except ModuleNotFoundError as error:
            # a library that is there and lacks something of its own is not passed over
            if error.name not in (name, name.partition(".")[0]):
                raise
    raise ModuleNotFoundError("neither `lightning` nor `pytorch_lightning` is installed", name="lightning")


_Callback: Any = _callback_class()


class ApplyRules(_Callback):  # type: ignore[misc]
    """Fill a LightningModule by a rule file, at the end of its `configure_model`, when it is first fitted.

    `rules`, `seed`, `vars`, `strict`, `initializers` and `root` are those of `initdsl.apply`; `attribute` names the part
    that is the model (`"model"`), by default the whole module. What a checkpoint holds (`ckpt_path`) is loaded after
    it and counts. `report` says what was done. Raises what `initdsl.apply` raises, from `trainer.fit`.
    """

    def __init__(
        self,
        rules: Rules,
        *,
        seed: int | None = None,
        vars: Mapping[str, Any] | None = None,
        strict: bool = False,
        initializers: Mapping[str, Callable[..., Any]] | None = None,
        root: str | None = None,
        attribute: str | None = None,
    ) -> None:
        super().__init__()
        self.rules = rules
        self.options: dict[str, Any] = {
            "seed": seed,
            "vars": vars,
            "strict": strict,
            "initializers": initializers,
            "root": root,
        }
        self.attribute = attribute
        self.report: Report | None = None
        self._filled: weakref.WeakSet[Any] = weakref.WeakSet()

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Have the module filled after its own `configure_model`, which Lightning calls next."""
        if stage != "fit" or pl_module in self._filled:
            return
        replaced = pl_module.__dict__.get("configure_model")  # another callback's, which is on its way too
        configure = pl_module.configure_model

        def configure_model() -> None:
            if replaced is None:
                del pl_module.configure_model
            else:
                pl_module.configure_model = replaced
            configure()
            net = pl_module
            for part in self.attribute.split(".") if self.attribute else ():
                net = getattr(net, part)
            self.report = apply(net, self.rules, **self.options)
            self._filled.add(pl_module)

        pl_module.configure_model = configure_model
