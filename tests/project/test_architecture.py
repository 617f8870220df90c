"""What docs/architecture.md and CONTRIBUTING.md say of the code, held against the code."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.support.code import PACKAGE, ROOT, files

PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


def section(title: str) -> str:
    """Return the text below a heading of the page, up to the next one."""
    below = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert below is not None
    return below[1]


def folders_of_the_page() -> list[str]:
    return re.findall(r"^\| `([\w/]+)/` \|", section("The tree").partition("Around the package")[0], re.MULTILINE)


def layers() -> list[str]:
    """Return the top folders in the order that import-linter holds, the lowest first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    assert settings["exclude_type_checking_imports"] is False
    (contract,) = settings["contracts"]
    assert contract["exhaustive"] is True
    assert "ignore_imports" not in contract
    return contract["layers"][::-1]


def test_the_tree_is_the_code() -> None:
    folders = {file.path.parent.relative_to(PACKAGE).as_posix() for file in files()} - {"."}
    assert sorted(folders_of_the_page()) == sorted(folders)


def test_nothing_stands_beside_the_folders() -> None:
    beside = {path.name for path in PACKAGE.iterdir() if path.is_file()}
    assert beside == {"__init__.py", "__main__.py", "py.typed"}


def test_the_order_is_what_import_linter_holds() -> None:
    assert [folder for folder in folders_of_the_page() if "/" not in folder] == layers()


def test_the_drawing_has_every_folder() -> None:
    drawing = (ROOT / "docs" / "architecture.svg").read_text("utf-8")
    drawn = re.findall(r'<g class="folder">.*?<text[^>]*>(\w+)</text></g>', drawing)
    assert sorted(drawn) == sorted(layers())


def test_every_test_it_names_is_there() -> None:
    named = 0
    for item in re.findall(r"^- .*?(?=^- |^\S|\Z)", section("Invariants"), re.MULTILINE | re.DOTALL):
        text = ""
        for path, test in re.findall(r"`(tests/[\w/]+\.py)?(?:::(\w+))?`", item):
            if path:
                text = (ROOT / path).read_text("utf-8")
            assert not test or f"def {test}(" in text, test
            named += bool(path or test)
    assert named > 20


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_every_file_it_names_is_there(page: str) -> None:
    """Paths from the root; in the list of traps, paths below the package."""
    names = re.findall(r"`([\w.]+/[\w./]*)`", (ROOT / page).read_text("utf-8"))
    assert len(names) > 20
    missing = [name for name in names if not ((ROOT / name).exists() or (PACKAGE / name).exists())]
    assert missing == []
