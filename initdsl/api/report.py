"""`Report`: what a fill did."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from initdsl.network.description import Live
from initdsl.planning.plan import Plan, PlanEntry
from initdsl.reports.flat import flat_plan
from initdsl.reports.pages.plan import plan_page
from initdsl.reports.pages.save import save
from initdsl.reports.table import plan_text, summary, table

__all__ = ["Report"]


REPORT_FORMAT = "initdsl-report"


REPORT_VERSION = 1


class Report:
    """What an initialization did: iterable over its entries, in the order of `named_parameters()`.

    `uncovered` are the parameters no rule reached, `unmatched` the statements that selected nothing, `tied` the names
    of every tensor that rules made one, `partial` the parameters of which only slices were set.
    """

    def __init__(self, plan: Plan, live: Live | None = None):
        self.plan = plan
        self._live = live
        self.entries: list[PlanEntry] = [e for e in plan.entries if e.base is not None or e.edits]

    @property
    def seed(self) -> int | None:
        return self.plan.seed

    @property
    def uncovered(self) -> list[str]:
        """Names of the parameters that no rule reached; they keep the values they had."""
        return [e.name for e in self.plan.uncovered]

    @property
    def partial(self) -> list[str]:
        """Names of the parameters of which only slices were set, or that were only edited."""
        return [e.name for e in self.plan.partial]

    @property
    def unmatched(self) -> list[str]:
        """The statements that selected nothing, as written."""
        return self.plan.unmatched

    @property
    def tied(self) -> list[tuple[str, ...]]:
        """The names of every tensor that was tied."""
        return self.plan.tied

    @property
    def notes(self) -> list[str]:
        """What is worth knowing of rules that did what they say."""
        return [note.message for note in self.plan.notes]

    @property
    def engine(self) -> str:
        """What drew: torch's generator, or the streams and their kernel."""
        if self.seed is None:
            return "torch's global generator"
        from initdsl import streams  # late: it loads torch

        tensors = [] if self._live is None else self._live.tensors
        devices = sorted({tensor.device.type for tensor in tensors if tensor is not None}) or ["cpu"]
        engines = dict.fromkeys(streams.engine(device) for device in devices if device != "meta")
        return f"stream v1, seed {self.seed} ({', '.join(engines)})"

    def __iter__(self) -> Iterator[PlanEntry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, name: str) -> PlanEntry:
        return self.plan[name]

    def to_dict(self, flat: bool = False) -> dict[str, Any]:
        """JSON-ready, versioned; `flat`: one level of numbers and texts, few enough to log in an experiment tracker."""
        if flat:
            return {**flat_plan(self.plan), "init/engine": self.engine}
        plan = self.plan.to_dict()
        return {
            **plan, "format": REPORT_FORMAT, "version": REPORT_VERSION, "uncovered": self.uncovered,
            "partial": self.partial, "unmatched": self.unmatched, "tied": [list(t) for t in self.tied],
        }  # fmt: skip

    def __str__(self) -> str:
        return plan_text(self.plan)

    def __repr__(self) -> str:
        return f"<Report: {summary(self.plan)}>"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report to a file: a page (`.html`), the values of `to_dict` (`.json`) or the table (`.txt`).

        The page measures what the model's tensors hold now. Raises ValueError for another suffix, OSError where
        the file can't be written; then what was there before still is.
        """
        save(path, html=self._page, data=self.to_dict, text=lambda: str(self))

    def _page(self) -> str:
        from initdsl.reports.measure import measures_of  # late: it loads torch

        measured = {} if self._live is None else measures_of(self.plan, self._live)
        return plan_page(self.plan, measured, self.engine)

    def _repr_html_(self) -> str:
        return table(self.plan)
