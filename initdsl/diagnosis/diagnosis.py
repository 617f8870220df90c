"""What `diagnose` returns: a diagnosis, or two of one model side by side, with all the ways to show them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from initdsl.reports.pages.save import save
from initdsl.text.flat import Flat, flat_values
from initdsl.text.wording import did_you_mean

from .findings import DIAGNOSIS_VERSION, Findings, to_dict
from .page import diagnosis_page
from .plots import figure
from .recorder import Layer
from .tables import as_html, as_text
from .verdict import Limits, exceeded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Comparison", "Diagnosis"]


class Diagnosis(Findings):
    """What one forward and one backward pass showed: iterable over its layers, in the order in which they finish.

    `trunk` is where depth is counted (None in a model without repeated layers), `verdict` the remarks, `rules` the name
    of the rule file or None, `inputs` a description of what went in. `str()` is a table, notebooks show a page.
    """

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, name: str) -> Layer:
        for layer in self.layers:
            if layer.name == name:
                return layer
        hint = did_you_mean(name, [layer.name for layer in self.layers])
        raise KeyError(f"no layer is named `{name}`{f'; {hint}' if hint else ''}")

    def compare(self, other: Diagnosis) -> Comparison:
        """Return this diagnosis and another one of the same model, side by side."""
        return Comparison(self, other)

    def exceeded(self, limits: Limits) -> list[str]:
        """Return what goes beyond the limits, in words; empty: nothing does."""
        return list(exceeded(self.layers, self.trunk, limits))

    def to_dict(self, flat: bool = False) -> dict[str, Any]:
        """Return the values, JSON-ready and versioned; numbers that JSON has no word for as text.

        `flat`: one level of numbers and texts, few enough to log in an experiment tracker.
        """
        return _flat(self) if flat else to_dict(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a page (`.html`), the values (`.json`), the table (`.txt`) or the plots (`.png`, `.svg`, `.pdf`).

        Plots need matplotlib, the extra `plot`. Raises ValueError for another suffix, and OSError.
        """
        save(path, html=self._page, data=self.to_dict, text=self.table, plots=self.plot)

    def plot(self) -> Figure:
        """Return the plots as a matplotlib figure. Raises ImportError without it."""
        return figure([self])

    def _page(self) -> str:
        return diagnosis_page([self.to_dict()])

    def table(self, every: bool = False) -> str:
        """Return the table as text; with `every`, repeated layers one by one."""
        return as_text([self], every)

    def __str__(self) -> str:
        return self.table()

    def __repr__(self) -> str:
        return f"<Diagnosis of {self.net}, {len(self.layers)} layers: {'; '.join(map(str, self.verdict))}>"

    def _repr_html_(self) -> str:
        return as_html([self])


def _flat(diagnosis: Diagnosis) -> Flat:
    """Return how signals grow over the depth, and what the verdict warns of."""
    trunk = diagnosis.trunk
    values: dict[str, int | float | str | None] = {
        "layers": len(diagnosis.layers),
        "inputs": diagnosis.inputs,
        "warnings": sum(remark.severity == "warning" for remark in diagnosis.verdict),
        "verdict": "; ".join(map(str, diagnosis.verdict))[:500],
    }
    if trunk is not None:
        values |= {
            "depth": len(trunk.layers),
            "activations_growth": trunk.growth,
            "gradients_growth": trunk.grad_growth,
        }
    return flat_values("init/diagnosis", values)


@dataclass(frozen=True)
class Comparison:
    """Two diagnoses of one model, side by side, from the same input and the same random state."""

    first: Diagnosis
    second: Diagnosis

    def to_dict(self) -> dict[str, Any]:
        """Return the values of both, as `Diagnosis.to_dict` has them."""
        return {
            "format": "initdsl-comparison",
            "version": DIAGNOSIS_VERSION,
            "first": self.first.to_dict(),
            "second": self.second.to_dict(),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write both to a file, as `Diagnosis.save`."""
        save(path, html=self._page, data=self.to_dict, text=self.table, plots=self.plot)

    def plot(self) -> Figure:
        """Return the plots of both, as `Diagnosis.plot`."""
        return figure([self.first, self.second])

    def _page(self) -> str:
        return diagnosis_page([self.first.to_dict(), self.second.to_dict()])

    def table(self, every: bool = False) -> str:
        """Return the table of both as text."""
        return as_text([self.first, self.second], every)

    def __str__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        return as_html([self.first, self.second])
