"""`docs/lints.md`, made from the lints' own documentation.

Written by `python -m initdsl.linter.page > docs/lints.md`.
"""

from __future__ import annotations

from .frame import all_lints

__all__ = ["page"]

HEAD = """# Lints

What `initdsl lint` finds in rule files. `initdsl lint --explain NAME` prints the page of one, with an example of the
mistake and of what to write instead. A finding is silenced on its line by `# initdsl: ignore[NAME] reason`, in a file by
`# initdsl: ignore-file[NAME]`, in a project by `[tool.initdsl]` in `pyproject.toml` (`select`, `ignore`,
`per-file-ignores`). *Safe* fixes leave the plan as it is and are made by `--fix`; the others by `--unsafe-fixes`.

| lint | kind | what it does | where it happened |
|---|---|---|---|
"""


def page() -> str:
    """The page: a table of all lints with their real-world sources."""
    rows = []
    for one in all_lints().values():
        source = " ".join(one.sections.get("Source", "").split())
        cells = (f"`{one.name}`", one.severity, one.summary, source)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return HEAD + "".join(rows)


if __name__ == "__main__":
    print(page(), end="")
