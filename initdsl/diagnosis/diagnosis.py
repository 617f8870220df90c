"""What a diagnosis found: layers, how signals and gradients change with depth, and the verdict in words."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .recorder import Layer
from .verdict import Limits, Remark, exceeded, trunk_of, verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Comparison", "Diagnosis", "suffix"]


DIAGNOSIS_FORMAT = "initdsl-diagnosis"


DIAGNOSIS_VERSION = 1


SUFFIXES = (".html", ".json", ".txt", ".png", ".svg", ".pdf")


class Diagnosis:
    """What one forward and one backward pass showed: iterable over its layers, in the order in which they finish.

    `trunk` is where depth is counted (None in a network without repeated layers), `verdict` the remarks, `rules` the name
    of the rule file or None, `inputs` a description of what went in. `str()` is a table, notebooks show a page.
    """

    def __init__(self, layers: Sequence[Layer], rules: str | None, net: str, inputs: str, optimizer: str):
        self.layers = list(layers)
        self.rules = rules
        self.net = net
        self.inputs = inputs
        self.optimizer = optimizer
        self.trunk = trunk_of(self.layers)
        self.verdict = list(verdict(self)) or [
            Remark("nothing", "fine", "nothing stands out; no two layers to compare")
        ]

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, name: str) -> Layer:
        for layer in self.layers:
            if layer.name == name:
                return layer
        from initdsl.text.wording import did_you_mean

        raise KeyError(
            f"no layer is named `{name}`; {did_you_mean(name, [layer.name for layer in self.layers]) or ''}".rstrip(
                "; "
            )
        )

    @property
    def title(self) -> str:
        return self.rules or "as it is"

    def compare(self, other: Diagnosis) -> Comparison:
        """This diagnosis and another one of the same network, side by side."""
        return Comparison(self, other)

    def exceeded(self, limits: Limits) -> list[str]:
        """What goes beyond the limits, in words; empty: nothing does."""
        return list(exceeded(self, limits))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, versioned; numbers JSON has no word for as text."""
        trunk = self.trunk
        return {
            "format": DIAGNOSIS_FORMAT, "version": DIAGNOSIS_VERSION, "rules": self.rules, "network": self.net,
            "inputs": self.inputs, "optimizer": self.optimizer,
            "trunk": None if trunk is None else {
                "class": trunk.cls, "layers": [layer.name for layer in trunk.layers],
                "growth": _json(trunk.growth), "growth_per_layer": _json(trunk.per_layer),
                "grad_growth": _json(trunk.grad_growth), "grad_growth_per_layer": _json(trunk.grad_per_layer),
            },
            "verdict": [asdict(remark) for remark in self.verdict],
            "layers": [_layer_dict(layer) for layer in self.layers],
        }  # fmt: skip

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a page (`.html`), the values (`.json`), the table (`.txt`) or the plots (`.png`, `.svg`, `.pdf`).

        Plots need matplotlib: `pip install initdsl[plot]`. Raises ValueError for another suffix, and OSError.
        """
        _save(self, path)

    def plot(self) -> Figure:
        """The plots as a matplotlib figure. Raises ImportError without matplotlib (`pip install initdsl[plot]`)."""
        from .plots import figure

        return figure([self])

    def table(self, every: bool = False) -> str:
        """The table as text; with `every`, repeated layers one by one."""
        from .tables import as_text

        return as_text([self], every)

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        return f"<Diagnosis of {self.net}, {len(self.layers)} layers: {'; '.join(map(str, self.verdict))}>"

    def _repr_html_(self) -> str:
        from .tables import as_html

        return as_html([self])


@dataclass(frozen=True)
class Comparison:
    """Two diagnoses of one network, side by side, from the same input and the same random state."""

    first: Diagnosis
    second: Diagnosis

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": "initdsl-comparison", "version": DIAGNOSIS_VERSION, "first": self.first.to_dict(),
            "second": self.second.to_dict(),
        }  # fmt: skip

    def save(self, path: str | os.PathLike[str]) -> None:
        """As `Diagnosis.save`, of both."""
        _save(self, path)

    def plot(self) -> Figure:
        """As `Diagnosis.plot`, of both."""
        from .plots import figure

        return figure([self.first, self.second])

    def table(self, every: bool = False) -> str:
        """The table of both as text."""
        from .tables import as_text

        return as_text([self.first, self.second], every)

    def __str__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        from .tables import as_html

        return as_html([self.first, self.second])


def _save(made: Diagnosis | Comparison, path: str | os.PathLike[str]) -> None:
    from initdsl.reports.pages.save import written

    match suffix(path):
        case ".html":
            from initdsl.reports.pages import diagnosis_page

            both = [made] if isinstance(made, Diagnosis) else [made.first, made.second]
            written(diagnosis_page([one.to_dict() for one in both]), path)
        case ".json":
            written(json.dumps(made.to_dict(), indent=2) + "\n", path)
        case ".txt":
            written(f"{made}\n", path)
        case _:
            made.plot().savefig(path)


def suffix(path: str | os.PathLike[str]) -> str:
    """The suffix of a file, one of those there are. Raises ValueError for another one."""
    found = os.path.splitext(os.fspath(path))[1].lower()
    if found not in SUFFIXES:
        raise ValueError(f"`{os.fspath(path)}` ends in none of {', '.join(SUFFIXES)}")
    return found


def _json(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _layer_dict(layer: Layer) -> dict[str, Any]:
    found = {
        name: _json(value) for name, value in asdict(layer).items() if name not in ("weighted", "depth", "weights")
    }
    return {"class" if name == "cls" else name: value for name, value in found.items()}
