"""Every fenced block of README.md and docs/ does what the page says; generated pages are what is generated now."""

from __future__ import annotations

import json
import re
import subprocess
import sysconfig
from pathlib import Path

import click
import pytest

import initdsl
from initdsl import cli
from initdsl.initializers import default_registry
from tests.conftest import let_torchvision_import
from tests.support import needs, processes
from tests.support.pages import ELSEWHERE, ROOT, blocks_of, corrected, curves, pictures_of, run_page, says

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")


# that of pictures draws them all
@pytest.mark.parametrize(
    "page", [pytest.param(p, id=p.stem, marks=[pytest.mark.long] if p.stem == "gallery" else []) for p in PAGES]
)
def test_blocks_do_what_the_page_says(page: Path, tmp_path: Path) -> None:
    text = page.read_text("utf-8")
    for needed in re.findall(r"\A<!-- needs: (.*?) -->", text):
        let_torchvision_import()
        for library in needed.split():
            if needs.lacks(library):
                pytest.skip(f"needs {library}")
    ran = run_page(page.name, text, tmp_path)
    assert not ran.differences, "\n\n".join(map(str, ran.differences))
    for place in pictures_of(text):
        both = (curves(path.read_text("utf-8")) for path in (page.parent / place, tmp_path / Path(place).name))
        # of more than two points: whether an axis has one line of its grid more hangs on the last bit of its end
        shown, drawn = ([curve for curve in some if len(curve) > 4] for some in both)
        assert shown, place
        assert list(map(len, shown)) == list(map(len, drawn)), f"{place}: run `python docs/gallery.py`"
        for line, other in zip(shown, drawn, strict=True):
            assert line == pytest.approx(other, abs=2), f"{place}: run `python docs/gallery.py`"


WRONG = {
    "script": "```python\nprint(1 + 1)\n```\n```text\n3\n```",
    "script that says too much": "```python\nprint(1)\n```",
    "doctest": "```python\n>>> 1 + 1\n3\n```",
    "syntax": "```initdsl\nLinear.weight ~\n```",
    "path": "```python\nfrom torch import nn\nnet = nn.Linear(2, 2)\n```\n\n```initdsl\nnet.weigth = 1\n```",
    "class": "```python\nfrom torch import nn\nnet = nn.Linear(2, 2)\n```\n\n```initdsl\nConv2d.weight = 1\n```",
    "error that is none": "```initdsl\nLinear.weight = 1\n```\n```text\nerror[plain-draw]: ...\n```",
    "plan": "```python\nfrom torch import nn\nnet = nn.Linear(2, 2)\n```\n\n```initdsl\n*.* = 1\n```\n```text\nweight = 2\n```",
    "command": "```console\n$ initdsl fmt nowhere.init\n```",
    "target": "```console\n$ make nonsense\n```",
    "exit code": "```console\n$ initdsl --version > /dev/null\n```",
    "tag": "```haskell\na = 1\n```",
    "workflow": "```yaml\njobs:\n  rules:\n    steps:\n      - run: initdsl fmt nowhere.init\n```",
    "text alone": "```text\nnothing shows this\n```",
    "settings": '```toml\n[tool.initdsl]\nselekt = ["a"]\n```',
    "json": "```json\n{\n```",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_block_is_found(name: str, tmp_path: Path) -> None:
    assert len(run_page("wrong.md", WRONG[name], tmp_path).differences) == 1


def test_a_page_can_be_corrected(tmp_path: Path) -> None:
    text = "Two:\n\n```python\nprint(1 + 1)\n```\n```text\n3\n```\n\n```console\n$ echo $?\n1\n```\n\nEnd.\n"
    right = corrected(text, run_page("page.md", text, tmp_path))
    assert right == text.replace("\n3\n", "\n2\n").replace("\n1\n", "\n0\n")
    assert not run_page("page.md", right, tmp_path).differences


def test_what_a_page_registers_goes_with_it(tmp_path: Path) -> None:
    text = "```python\nimport initdsl\n@initdsl.initializer\ndef of_this_page(tensor):\n    tensor.zero_()\n```"
    assert not run_page("page.md", text, tmp_path).differences
    assert "of_this_page" not in default_registry()
    assert "normal" in default_registry()


@pytest.mark.parametrize(
    ("wanted", "got", "same"),
    [
        ("a\n...\nc", "a\nb\nb\nc", True), ("a\n...\nc", "a\nc", True), ("a\n...\nc", "a\nb", False),
        ("...\nc", "a\nb\nc", True), ("a\n...", "a\nb", True), ("a\n...", "ab", False), ("a...", "a\nb", False),
        ("(a)", "(a)", True), ("a", "ab", False),
    ],
)  # fmt: skip
def test_dots_stand_for_lines(wanted: str, got: str, same: bool) -> None:
    assert says(wanted, got) is same


def test_blocks_that_other_tests_read_are_read() -> None:
    for page in PAGES:
        for block in blocks_of(page.read_text("utf-8")):
            if block.tag in ELSEWHERE:
                assert page.name in (ROOT / "tests" / ELSEWHERE[block.tag]).read_text("utf-8")


def test_the_installed_program_does_what_main_does(tmp_path: Path) -> None:
    """The pages call `main` in this process; here is the program itself, once."""
    program = Path(sysconfig.get_path("scripts"), "initdsl")
    if not program.exists():
        pytest.skip("initdsl is not installed")
    file = tmp_path / "a.init"
    file.write_text("Linear.weight ~ kaimin_normal()\n", "utf-8")
    done = subprocess.run([program, "lint", file.name], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "did you mean `kaiming_normal`?" in done.stdout


def test_the_readme_uses_the_canonical_layout() -> None:
    for block in blocks_of((ROOT / "README.md").read_text("utf-8")):
        if block.tag == "initdsl":
            assert initdsl.format(block.text + "\n") == block.text + "\n"


@pytest.mark.parametrize("name", initdsl.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    page = (ROOT / "docs" / "python.md").read_text("utf-8")
    assert re.search(rf"`{name}\b|initdsl\.{name}\b", page)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_and_option_is_documented(name: str) -> None:
    page = (ROOT / "docs" / "command-line.md").read_text("utf-8")
    assert f"\n## initdsl {name}\n" in page
    command = cli.group.get_command(click.Context(cli.group), name)
    assert command is not None
    for option in command.params:
        if isinstance(option, click.Option):
            assert re.search(rf"{max(option.opts, key=len)}\b", page), option.opts


LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    outside = re.sub(r"^(`{3,}).*?^\1$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", outside, re.MULTILINE)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    outside = re.sub(r"^(`{3,}).*?^\1$|`[^`\n]*`", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in LINK.findall(outside):
        if target.startswith(("http://", "https://")):
            continue
        place, _, anchor = target.partition("#")
        file = page.parent / place if place else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


# older versions of pydantic leave the descriptions out
SCHEMA = pytest.param("ruleset.schema.json", marks=pytest.mark.needs("pydantic>=2.13"))


@pytest.mark.parametrize("name", ["initializers.md", "lints.md", "recipe-files.md", "api.md", SCHEMA])
def test_generated_pages_are_current(name: str) -> None:
    done = processes.python(ROOT / "docs" / "generate.py", "--print", name)
    assert done.returncode == 0, done.stderr
    there = (ROOT / "docs" / name).read_text("utf-8")
    if name.endswith(".json"):
        assert json.loads(done.stdout) == json.loads(there), "run `python docs/generate.py`"
    else:
        assert done.stdout == there, "run `python docs/generate.py`"
