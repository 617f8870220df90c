"""`initdsl help`: the language on one page, a section of it, a word of it or of the glossary, or a command."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

import click

from initdsl.language.syntax.grammar import statement_words
from initdsl.text.wording import did_you_mean

from .console import coloured, fail

__all__ = ["command", "topics"]

# the pages as the wheel has them, or those of a source checkout
PLACES = [Path(__file__).parents[1] / "pages", Path(__file__).parents[2] / "docs"]

PAGES = {
    "cheatsheet": "the language on one page",
    "tour": "the language in ten minutes",
    "glossary": "the words of the documentation",
}

WIDEST = 110  # columns


@click.command("help")
@click.argument("topic", required=False)
@click.pass_context
def command(ctx: click.Context, topic: str | None) -> None:
    """Print the page of TOPIC: a part of the language, a word, or a command. Without TOPIC, list them."""
    from .program import COMMANDS, group

    if topic is None:
        _print(_overview())
        return
    wanted = topic.lower().removesuffix(".md")
    known = topics()
    rows = "" if wanted in known or wanted in COMMANDS else _rows_with(wanted)
    if rows:
        _print(rows)
        return
    if wanted not in known and wanted not in COMMANDS:
        hint = did_you_mean(wanted, [*known, *COMMANDS])
        fail(f"there is no help on `{topic}`", hint or "`initdsl help` lists the topics")
    if wanted in known:
        _print(known[wanted])
    named = group.get_command(ctx, wanted)
    if named is not None:
        with click.Context(named, info_name=f"initdsl {wanted}") as of_it:
            click.echo("\n" * (wanted in known) + named.get_help(of_it))


def topics() -> Mapping[str, str]:
    """Return every topic but the commands, with its text in Markdown: pages, sections of the cheat sheet, words."""
    pages = {name: _page(name) for name in PAGES}
    return {**_forms(pages["cheatsheet"]), **_words(pages["glossary"]), **_sections(pages["cheatsheet"]), **pages}


def _page(name: str) -> str:
    """Return a page without what is for the tests and for a browser: comments and the addresses of links."""
    text = next(place / f"{name}.md" for place in PLACES if (place / f"{name}.md").is_file()).read_text("utf-8")
    text = re.sub(r"^<!-- .*? -->\n", "", text, flags=re.MULTILINE)
    return re.sub(r"\[([^\]\n]+)\]\([^)\s]+\.md[^)\s]*\)", r"\1", text)


def _sections(page: str) -> dict[str, str]:
    """Return the sections of a page by their headings, with hyphens for spaces."""
    found = re.split(r"^## ", page, flags=re.MULTILINE)[1:]
    return {section.split("\n")[0].lower().replace(" ", "-"): f"## {section}" for section in found}


def _words(glossary: str) -> dict[str, str]:
    """Return what the glossary says of each of its words."""
    rows = [line.strip("| ").split(" | ", 1) for line in glossary.splitlines() if line.startswith("| ")][1:]
    return {word: f"**{words}**: {meaning}" for words, meaning in rows for word in words.split(", ")}


def _forms(sheet: str) -> dict[str, str]:
    """Return what the cheat sheet has of each word that begins a statement, and of what a right-hand side calls."""
    tables, idioms = sheet.split("## Idioms")[0], _sections(sheet)["idioms"]
    rows = [line for line in tables.splitlines() if line.startswith("| `")]
    called = {word for row in rows for word in re.findall(r"\b([a-z_]+)\(", row.split(" | ")[0])}
    return {word: _form(word, rows, idioms) for word in called | set(statement_words()) | {"it"}}


def _form(word: str, rows: list[str], idioms: str) -> str:
    """Return what the cheat sheet has of a word: the rows of its tables, and the idioms that use it."""
    used = re.compile(rf"\b{word}\b(?=[ (`])")
    told = "\n".join(row for row in rows if used.search(row.split(" | ")[0]))
    shown = [
        f"{says}\n\n{block}"
        for says, block in re.findall(
            r"^([A-Z][^\n]*[:.])\n(?:.(?!^[A-Z]))*?^(```initdsl\n.*?^```)", idioms, re.M | re.S
        )
        if used.search(block)
    ]
    return f"| form | means |\n|---|---|\n{told}\n\n" + "\n\n".join(shown)


def _rows_with(written: str) -> str:
    """Return the rows of the cheat sheet whose form has a word or a sign in it, as `ndim` or `**`; empty if none has."""
    # a word is a whole one, and a sign may stand anywhere
    word = re.compile(
        rf"(?<![a-z_]){re.escape(written)}(?![a-z_])" if written.isidentifier() else re.escape(written), re.I
    )
    found = []
    for name, section in _sections(_page("cheatsheet")).items():
        codes = [(line, re.findall(r"`([^`]+)`", line.split(" | ")[0])) for line in section.splitlines()]
        rows = [line for line, forms in codes if line.startswith("| `") and any(map(word.search, forms))]
        if rows and name != "commands":
            table = "\n".join(["| form | means |", "|---|---|", *rows])
            found.append(f"{table}\n\n`initdsl help {name}` has the forms beside these.")
    return "\n\n".join(found)


def _overview() -> str:
    """Return the list of the topics."""
    sections = ", ".join(f"`{name}`" for name in _sections(_page("cheatsheet")))
    words = ", ".join(f"`{word}`" for word in _words(_page("glossary")))
    forms = ", ".join(f"`{name}`" for name in sorted(_forms(_page("cheatsheet"))))
    pages = "\n".join(f"- `{name}`: {summary}" for name, summary in PAGES.items())
    return (
        f"Print a topic with `initdsl help TOPIC`.\n\n{pages}\n- parts of the cheat sheet: {sections}\n"
        f"- words: {words}\n- words of the language, as {forms}\n- any other word or sign of a rule file, as `ndim` or `'**'`\n- a command, as `plan`; `initdsl --help` lists them\n"
    )


def _print(text: str) -> None:
    """Print Markdown for a terminal, with colours where there is one."""
    from rich.console import Console
    from rich.markdown import Markdown

    painted = coloured(sys.stdout)
    width = min(shutil.get_terminal_size((WIDEST, 24)).columns, WIDEST)
    console = Console(file=StringIO(), width=width, force_terminal=painted, no_color=not painted, highlight=False)
    with console.capture() as shown:
        console.print(Markdown(text, hyperlinks=False, code_theme="ansi_dark"))
    click.echo("\n".join(line.rstrip() for line in shown.get().strip("\n").split("\n")), color=painted)
