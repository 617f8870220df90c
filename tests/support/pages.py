"""Runs the fenced blocks of a Markdown page, in order, in a folder of their own, and says what each really gives.

A page is a script. What its blocks are:

- `python`: a script, or a doctest where it has `>>>`. All blocks of a page share their names.
- `initdsl` (also `init`): a rule file. Where the page has a model, it is planned on `net`.
- `console`: lines that start with `$ ` go through the command line; `$ echo $?` shows the exit code of the last one.
- `text`, directly after one of these: what it shows (a script's output, a rule file's errors or its plan). A line `...`
  stands for any number of lines. A rule file without one must have no errors and no warnings.
- `toml`, `json`: parsed.
- `yaml`: parsed, and the commands in it that call initdsl (`run:` of a workflow, `entry:` of a hook) must succeed.

A comment before a block sets it up: `<!-- file: model.py -->` also writes it to that file, `<!-- net: lstm -->` plans
it on that name (`none`: only parses it), `<!-- set: x=1 -->` gives variables, `<!-- lint: net -->` shows what the linter
says of it instead, on that model or, with `none`, of the file alone. A drawing is indented, not fenced. A page that
begins with `<!-- after: tour.md -->` goes on where the scripts of that page end.

`python -m tests.support.pages docs/language.md` writes what blocks show into the page; read the difference before you keep it.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.processes import python

ROOT = Path(__file__).parents[2]
RULES = ("initdsl", "init")
# tags whose blocks another test reads
ELSEWHERE = {"vectors": "streams/test_streams.py", "draws": "filling/test_streams_of_rules.py"}
# shell commands that set things up, and so are not run here
SET_UP = re.compile(r"(pip install|python -m pip install|git clone|cd) ")


@dataclass(eq=False)
class Block:
    """One fenced block: where it stands, its tag, its text and what the comment before it says."""

    line: int
    tag: str
    text: str
    options: dict[str, str] = field(default_factory=dict)
    end: int = 0  # the line of its closing fence, from 0
    output: Block | None = None
    shown: bool = False  # a `text` block that shows what the block before it gives


FENCE = re.compile(r"( *)(`{3,}|~{3,})(.*)")
OPTION = re.compile(r"\s*<!-- (file|net|set|lint): (.*?) -->\s*\Z")


def blocks_of(text: str) -> list[Block]:
    """The fenced blocks of a page; a `text` block without words between it and the one before shows its output."""
    found: list[Block] = []
    options: dict[str, str] = {}
    lines = text.split("\n")
    place, adjacent = 0, False
    while place < len(lines):
        line = lines[place]
        place += 1
        if option := OPTION.match(line):
            options[option[1]] = option[2]
            continue
        opening = FENCE.match(line)
        if opening is None:
            if line.strip():
                options, adjacent = {}, False
            continue
        indent, fence, tag = opening.groups()
        body: list[str] = []
        start = place
        while place < len(lines) and lines[place].strip() != fence:
            body.append(lines[place].removeprefix(indent))
            place += 1
        if place == len(lines):
            raise ValueError(f"line {start}: this fence is never closed")
        block = Block(start, tag.strip(), "\n".join(body), options, place)
        place += 1
        if block.tag == "text" and adjacent and found[-1].output is None and found[-1].tag != "text":
            found[-1].output, block.shown = block, True
        found.append(block)
        options, adjacent = {}, True
    return found


@dataclass
class Difference:
    """A block that does not do what the page says."""

    page: str
    block: Block
    got: str
    what: str = "shows something else"

    def __str__(self) -> str:
        wanted = self.block.output or self.block
        return f"{self.page}:{wanted.line}: this `{self.block.tag}` block {self.what}\n{self.got}"


class Page:
    """The blocks of one page, run in the current folder."""

    def __init__(self, name: str, text: str):
        self.name = name
        self.blocks = blocks_of(text)
        before = re.match(r"<!-- after: (.*?) -->", text)
        self.before = blocks_of((ROOT / "docs" / before[1]).read_text("utf-8")) if before else []
        self.names: dict[str, Any] = {"__name__": "__page__"}
        self.exit_code = 0
        self.differences: list[Difference] = []

    def run(self) -> list[Difference]:
        """Every block that does not do what the page says."""
        for block in self.before:
            if block.tag == "python":
                self._python(block)
        for block in self.blocks:
            if block.shown or block.tag in ELSEWHERE:
                continue
            if "file" in block.options:
                Path(block.options["file"]).write_text(block.text + "\n", "utf-8")
            runner = getattr(self, f"_{'initdsl' if block.tag in RULES else block.tag}", None)
            if runner is None:
                self._differs(block, block.text, f"(`{block.tag}`) is nothing that can be tested")
                continue
            try:
                runner(block)
            except Exception:
                self._differs(block, traceback.format_exc(limit=-3), "fails")
        return self.differences

    def _differs(self, block: Block, got: str, what: str = "shows something else") -> None:
        self.differences.append(Difference(self.name, block, got, what))

    def _compare(self, block: Block, got: str) -> None:
        wanted = block.output.text if block.output is not None else ""
        if not says(wanted.strip("\n"), got.strip("\n")):
            self._differs(block, got.strip("\n"))

    def _python(self, block: Block) -> None:
        if ">>> " in block.text:
            test = doctest.DocTestParser().get_doctest(block.text, {}, self.name, self.name, block.line)
            test.globs = self.names
            said = io.StringIO()
            runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
            runner.run(test, out=said.write, clear_globs=False)
            if runner.failures:
                self._differs(block, said.getvalue(), "fails")
            return
        with contextlib.redirect_stdout(io.StringIO()) as said:
            exec(compile(block.text, block.options.get("file", f"<{self.name}:{block.line}>"), "exec"), self.names)
        self._compare(block, said.getvalue())

    def _initdsl(self, block: Block) -> None:
        import initdsl

        name = block.options.get("file", "rules.init")
        Path(name).write_text(block.text + "\n", "utf-8")
        wanted = block.options.get("net", "net" if "net" in self.names else "none")
        if "lint" in block.options:
            found = initdsl.lint(name, self.names.get(block.options["lint"]))
            self._compare(block, "\n\n".join(map(str, found)))
            return
        values = dict(pair.split("=") for pair in block.options.get("set", "").split(", ") if pair)
        try:
            rules = initdsl.load(name)
            if wanted == "none":
                self._compare(block, "")
                return
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                made = initdsl.plan(self.names[wanted], rules, vars={k: float(v) for k, v in values.items()})
        except initdsl.InitDSLError as error:
            self._compare(block, str(error))
            return
        if block.output is not None:
            self._compare(block, str(made))
        elif made.warnings:
            self._differs(block, "\n\n".join(map(str, made.warnings)), "selects nothing")

    def _console(self, block: Block) -> None:
        shown: list[str] = []
        for line in block.text.split("\n"):
            if not line.startswith("$ "):
                continue
            shown.append(line)
            said = self._command(line[2:]).rstrip("\n")
            if said:
                shown.append(said)
        got = "\n".join(shown)
        if not says(block.text.rstrip("\n"), got):
            self._differs(block, got)

    def _command(self, command: str) -> str:
        if command == "echo $?":
            return str(self.exit_code)
        if SET_UP.match(command):
            self.exit_code = 0
            return ""
        if command.startswith("make "):
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
            self.exit_code = 0
            return "" if command.split()[1] in targets else f"make: no rule to make target `{command.split()[1]}`"
        words = shlex.split(command)
        if words[0] == "initdsl":
            self.exit_code, said = initdsl_command(words[1:])
            return said
        if words[0] == "python":
            ran = python(*words[1:])
            self.exit_code = ran.returncode
            return ran.stdout + ran.stderr
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        self.exit_code = done.returncode
        return done.stdout

    def _toml(self, block: Block) -> None:
        from initdsl.linter.config import find_config

        if "initdsl" in tomllib.loads(block.text).get("tool", {}):
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, "pyproject.toml").write_text(block.text, "utf-8")
                find_config(folder)

    def _json(self, block: Block) -> None:
        json.loads(block.text)

    def _yaml(self, block: Block) -> None:
        import yaml

        for command in _commands(yaml.safe_load(block.text)):
            code, said = initdsl_command(shlex.split(command)[1:])
            if code:
                self._differs(block, f"`{command}` exits with {code}: {said}", "fails")


def _commands(value: Any) -> Iterator[str]:
    """The calls of initdsl in a workflow or a list of hooks."""
    if isinstance(value, dict):
        yield from (value[key] for key in ("run", "entry") if str(value.get(key, "")).startswith("initdsl "))
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _commands(part)


def initdsl_command(words: list[str]) -> tuple[int, str]:
    """The exit code of the command line's own `main`, and what it prints to both streams."""
    from initdsl import cli

    before, path, modules = sys.argv, list(sys.path), set(sys.modules)
    sys.argv = ["initdsl", *words]
    said = io.StringIO()
    code = 0
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            cli.main()
    except SystemExit as exit:
        code = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    finally:
        sys.argv, sys.path[:] = before, path
        _forget(modules)
    return code, said.getvalue()


def _forget(modules: set[str]) -> None:
    """Take out the modules of the page's own files that were not there before."""
    for name in set(sys.modules) - modules:
        if getattr(sys.modules[name], "__file__", None) and os.getcwd() in str(sys.modules[name].__file__):
            del sys.modules[name]


def _forget_files_of_others() -> None:
    """Take out modules of files that another test wrote: a page's own may have the same names."""
    for name, module in list(sys.modules.items()):
        file = str(getattr(module, "__file__", None))
        if file.startswith(tempfile.gettempdir()) and not Path(file).is_relative_to(ROOT):
            del sys.modules[name]


def says(wanted: str, got: str) -> bool:
    """Whether a text is the one that is wanted, `...` on a line of its own standing for any lines."""
    pattern = "\n".join("...." if line == "..." else re.escape(line) for line in wanted.split("\n"))
    for place, dots in (("\n....\n", r"\n(?:.*\n)*?"), ("\n....", r"(?:\n.*)*"), ("....\n", r"(?:.*\n)*?")):
        pattern = pattern.replace(place, dots)
    return re.fullmatch(pattern, got) is not None


def run_page(name: str, text: str, folder: str | os.PathLike[str]) -> Page:
    """A page, run with `folder` as the working directory."""
    from initdsl.initializers import default_registry

    page = Page(name, text)
    registered = default_registry()._by_name
    before = dict(registered)
    try:
        with contextlib.chdir(folder):
            _forget_files_of_others()
            path, modules = list(sys.path), set(sys.modules)
            sys.path.insert(0, os.getcwd())
            try:
                page.run()
            finally:
                sys.path[:] = path
                _forget(modules)
    finally:  # what the page registers is its own
        registered.clear()
        registered.update(before)
    return page


def pictures_of(text: str) -> list[str]:
    """The plots a page shows. A command of the page writes each, under the last part of its name."""
    return re.findall(r"^!\[[^\]]*\]\((gallery/[^)\s]+)\)", text, re.MULTILINE)


def curves(picture: str) -> list[list[float]]:
    """The coordinates of the lines and points of a plot (an SVG of matplotlib's)."""
    lines = [
        [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", path)]
        for path in re.findall(r'<path d="([^"]*)"\s+clip-path=', picture)
    ]
    groups = re.findall(r'<g clip-path="[^"]*">(.*?)</g>', picture, re.DOTALL)
    return lines + [[float(number) for number in re.findall(r'\b[xy]="([^"]+)"', group)] for group in groups]


def shortened(text: str) -> str:
    """A plan without the rows of three and more parameters in a row that no rule reaches."""
    return re.sub(r"(?:^.* - uncovered\n){3,}", "...\n", text, flags=re.MULTILINE)


def corrected(text: str, page: Page) -> str:
    """The page with what its blocks really give. Failures are left as they are."""
    lines = text.split("\n")
    for difference in sorted(page.differences, key=lambda d: -d.block.line):
        block = difference.block if difference.block.tag == "console" else difference.block.output
        if difference.what != "shows something else":
            continue
        if block is None:
            if difference.got:  # nothing was said of it yet
                end = difference.block.end + 1
                lines[end:end] = ["```text", *shortened(difference.got).split("\n"), "```"]
            continue
        lines[block.line : block.end] = shortened(difference.got).split("\n")
    return "\n".join(lines)


def main() -> None:
    for name in sys.argv[1:]:
        text = Path(name).read_text("utf-8")
        with tempfile.TemporaryDirectory() as folder:
            page = run_page(name, text, folder)
        Path(name).write_text(corrected(text, page), "utf-8")
        for difference in page.differences:
            sys.stdout.write(f"{difference}\n\n")


if __name__ == "__main__":
    main()
