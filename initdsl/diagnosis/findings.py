"""What a diagnosis found, as a value: layers, where depth is counted, and the verdict in words."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from .recorder import Layer
from .verdict import Remark, Trunk, trunk_of, verdict_on

__all__ = ["Findings", "to_dict"]


DIAGNOSIS_FORMAT = "initdsl-diagnosis"


DIAGNOSIS_VERSION = 1


# what a table or a plot needs of a layer, and no reader of the JSON does
INTERNAL = ("weighted", "depth", "weights", "given")


@dataclass(frozen=True)
class Findings:
    """What one forward and one backward pass showed of a model.

    `Findings((Layer("0", "Linear"), ...), "gpt2.init", "GPT", "random float32 [8, 64]", "adam, learning rate 0.001")`:
    the layers in the order in which they finish, the name of the rule file or None, the model's class, what went in,
    and whose first step it was.
    """

    layers: tuple[Layer, ...]
    rules: str | None
    net: str
    inputs: str
    optimizer: str

    @property
    def trunk(self) -> Trunk | None:
        """The layers along which depth is counted; None where there are no two to compare."""
        return trunk_of(self.layers)

    @property
    def verdict(self) -> tuple[Remark, ...]:
        """What the layers show, a sentence each; there is always one."""
        return verdict_on(self.layers, self.trunk, self.optimizer)

    @property
    def title(self) -> str:
        """The name of the rule file, or that there was none."""
        return self.rules or "as it is"


def to_dict(findings: Findings) -> dict[str, Any]:
    """Return the values, JSON-ready and versioned; numbers that JSON has no word for as text."""
    trunk = findings.trunk
    return {
        "format": DIAGNOSIS_FORMAT,
        "version": DIAGNOSIS_VERSION,
        "rules": findings.rules,
        "network": findings.net,
        "inputs": findings.inputs,
        "optimizer": findings.optimizer,
        "trunk": None if trunk is None else _trunk_dict(trunk),
        "verdict": [asdict(remark) for remark in findings.verdict],
        "layers": [_layer_dict(layer) for layer in findings.layers],
    }


def _trunk_dict(trunk: Trunk) -> dict[str, Any]:
    return {
        "class": trunk.cls,
        "layers": [layer.name for layer in trunk.layers],
        "growth": _json(trunk.growth),
        "growth_per_layer": _json(trunk.per_layer),
        "grad_growth": _json(trunk.grad_growth),
        "grad_growth_per_layer": _json(trunk.grad_per_layer),
    }


def _layer_dict(layer: Layer) -> dict[str, Any]:
    values = {name: _json(value) for name, value in asdict(layer).items() if name not in INTERNAL}
    return {"class" if name == "cls" else name: value for name, value in values.items()}


def _json(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
