"""What a lint is: a documented module in `lints/` with one function, `check`.

What only a network brings to light is mostly found by the resolver. Such a finding has its file in `lints/` too, whose
`check` is `by_resolver(...)`.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Literal

from initdsl.text.diagnostic import Diagnostic, Severity

from .file import File

__all__ = ["SECTIONS", "Lint", "all_lints", "by_resolver", "lint", "lint_names"]


Needs = Literal["file", "network", "resolver", "suppressions"]


Check = Callable[..., Iterator[Diagnostic]]


SECTIONS = ("What it does", "Why is this bad", "Example", "Use instead")


@dataclass(frozen=True)
class Lint:
    """One lint: its name, its documentation, and the function that looks for it.

    `needs` says what `check` takes after the file: nothing, the network's plan, or the file's suppressions. Where it is
    the resolver, which finds this itself, nothing calls `check`.
    """

    name: str
    doc: str
    check: Check
    severity: Severity = "warning"
    needs: Needs = "file"

    def run(self, file: File, *given: Any) -> Iterator[Diagnostic]:
        """The findings of this lint, under its name."""
        for found in self.check(file, *given):
            yield replace(found, name=self.name, severity=self.severity)

    @cached_property
    def sections(self) -> dict[str, str]:
        """The documentation by heading."""
        parts = re.split(r"^## (.+)\n", self.doc, flags=re.MULTILINE)
        return {title: text.strip() for title, text in zip(parts[1::2], parts[2::2], strict=True)}

    @property
    def summary(self) -> str:
        """What it does, in one paragraph."""
        return " ".join(self.sections["What it does"].partition("\n\n")[0].split())

    def example(self, section: Literal["Example", "Use instead"]) -> str:
        """The rule text of an example."""
        match = re.search(r"```init\n(.*?)```", self.sections[section], re.DOTALL)
        if match is None:
            raise ValueError(f"{self.name}: {section} has no example")
        return match[1]


def lint(severity: Severity = "warning", needs: Needs = "file") -> Callable[[Check], Check]:
    """Say how grave a lint's findings are, and what its `check` needs beside the file.

    >>> @lint(severity="error")
    ... def check(file):
    ...     yield from ()
    """

    def mark(check: Check) -> Check:
        check.__dict__.update(severity=severity, needs=needs)
        return check

    return mark


def by_resolver(severity: Severity) -> Check:
    """The `check` of a lint that the resolver finds, mostly as grave as this."""

    @lint(severity, needs="resolver")
    def check(file: File) -> Iterator[Diagnostic]:
        yield from ()

    return check


@lru_cache(maxsize=1)
def all_lints() -> dict[str, Lint]:
    """Every lint by name: the modules of `lints/`, in the order of their names."""
    from . import lints

    found = {}
    for module in pkgutil.iter_modules(lints.__path__):
        loaded = importlib.import_module(f"{lints.__name__}.{module.name}")
        name = module.name.replace("_", "-")
        marks = loaded.check.__dict__
        found[name] = Lint(
            name, inspect.cleandoc(loaded.__doc__ or ""), loaded.check, marks.get("severity", "warning"),
            marks.get("needs", "file"),
        )  # fmt: skip
    return found


def lint_names() -> tuple[str, ...]:
    """The names of all lints."""
    return tuple(all_lints())
