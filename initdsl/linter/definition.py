"""What a lint is: a documented module in `lints/` with one name, `check`.

What only a model brings to light is mostly found by the resolver. Such a finding has its file in `lints/` too, whose
`check` is `by_resolver(...)`.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from initdsl.text.diagnostic import Diagnostic, Severity

from .file import File

if TYPE_CHECKING:
    from initdsl.planning.plan import Plan

    from .suppressions import Suppressions

__all__ = ["SECTIONS", "Check", "Lint", "all_lints", "by_resolver", "lint", "lint_names"]


Needs = Literal["file", "file-alone", "network", "resolver", "suppressions"]


Findings = Callable[..., Iterator[Diagnostic]]


SECTIONS = ("What it does", "Why is this bad", "Example", "Use instead")


@dataclass(frozen=True, slots=True)
class Check:
    """How a lint looks for its findings: `Check(find, "error", needs="file")`.

    `needs` says what `find` takes after the file: nothing, the model's plan, or the file's suppressions. With
    `file-alone` it takes nothing and is called without a model only, as the resolver knows better. What the resolver
    finds itself nothing looks for: `find` is never called.
    """

    find: Findings
    severity: Severity = "warning"
    needs: Needs = "file"


@dataclass(frozen=True, slots=True)
class Lint:
    """One lint: its name (`zero-std`), its documentation, and how it looks for findings."""

    name: str
    doc: str
    check: Check

    @property
    def severity(self) -> Severity:
        """How grave its findings are."""
        return self.check.severity

    @property
    def needs(self) -> Needs:
        """What it looks at beside the file; see `Check`."""
        return self.check.needs

    def run(self, file: File, *needed: Plan | Suppressions) -> Iterator[Diagnostic]:
        """Yield the findings of this lint, under its name; `needed` is what it needs beside the file."""
        for finding in self.check.find(file, *needed):
            yield replace(finding, name=self.name, severity=self.severity)

    @property
    def sections(self) -> dict[str, str]:
        """The documentation by heading."""
        parts = re.split(r"^## (.+)\n", self.doc, flags=re.MULTILINE)
        return {title: text.strip() for title, text in zip(parts[1::2], parts[2::2], strict=True)}

    @property
    def summary(self) -> str:
        """What it does, in one paragraph."""
        return " ".join(self.sections["What it does"].partition("\n\n")[0].split())

    def example(self, section: Literal["Example", "Use instead"]) -> str:
        """Return the rule text of an example."""
        match = re.search(r"```init\n(.*?)```", self.sections[section], re.DOTALL)
        if match is None:
            raise ValueError(f"{self.name}: {section} has no example")
        return match[1]


def lint(severity: Severity = "warning", needs: Needs = "file") -> Callable[[Findings], Check]:
    """Make a function that yields findings the `check` of a lint, as grave as this.

    >>> @lint(severity="error")
    ... def check(file):
    ...     yield from ()
    >>> check.severity
    'error'
    """
    return lambda find: Check(find, severity, needs)


def by_resolver(severity: Severity) -> Check:
    """Return the `check` of a lint that the resolver finds, mostly as grave as this."""
    return Check(lambda file: iter(()), severity, "resolver")


@lru_cache(maxsize=1)
def all_lints() -> dict[str, Lint]:
    """Return every lint by name: the modules of `lints/`, in the order of their names."""
    from . import lints

    modules = {
        info.name.replace("_", "-"): importlib.import_module(f"{lints.__name__}.{info.name}")
        for info in pkgutil.iter_modules(lints.__path__)
    }
    return {name: Lint(name, inspect.cleandoc(module.__doc__ or ""), module.check) for name, module in modules.items()}


def lint_names() -> tuple[str, ...]:
    """Return the names of all lints."""
    return tuple(all_lints())
