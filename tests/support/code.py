"""The package's own source: its files, what each imports, and how long its functions are."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "initdsl"
# folders that are imported without torch: the language, and a plan on a described network
LIGHT = ("text", "initializers", "language", "formatter", "network", "planning", "linter", "server")


@dataclass(frozen=True)
class File:
    """One module of the package: `File("initdsl.text.source", Path(".../initdsl/text/source.py"))`."""

    module: str
    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text("utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def name(self) -> str:
        """Return the path below the package: `text/source.py`."""
        return self.path.relative_to(PACKAGE).as_posix()

    @property
    def folder(self) -> str:
        """Return the top folder, or the file itself where it stands beside the folders: `text`, `__main__.py`."""
        return self.name.partition("/")[0]

    @property
    def package(self) -> str:
        """Return the module that `from . import` in this file means."""
        return self.module if self.path.name == "__init__.py" else self.module.rpartition(".")[0]


@dataclass(frozen=True)
class Import:
    """One import: `Import("initdsl.api.apply", "torch", 12, late=False, for_types=True)`."""

    importer: str
    imported: str
    line: int
    late: bool  # inside a function
    for_types: bool  # under TYPE_CHECKING

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} -> {self.imported}"


@cache
def files() -> tuple[File, ...]:
    """Return every module of the package."""
    return tuple(File(module_of(path), path) for path in sorted(PACKAGE.rglob("*.py")))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports() -> tuple[Import, ...]:
    """Return every import of the package's files, of the package's own modules and of others."""
    return tuple(one for file in files() for one in imports_of(file))


def imports_of(file: File) -> Iterator[Import]:
    """Yield what a file imports: a module of the package by its full name, any other by its first."""
    yield from _below(file, file.tree, False, False)


def _below(file: File, node: ast.AST, late: bool, for_types: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        typed = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        for target in _targets(file, child):
            yield Import(file.module, target, child.lineno, late, for_types)
        inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        yield from _below(file, child, late or inside, for_types or typed)


def _targets(file: File, node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield _known(alias.name)
    elif isinstance(node, ast.ImportFrom):
        base = file.package.split(".")[: len(file.package.split(".")) + 1 - node.level] if node.level else []
        module = ".".join([*base, *filter(None, [node.module])])
        for alias in node.names:
            yield _known(f"{module}.{alias.name}")


def _known(name: str) -> str:
    """Return the module of the package that a dotted name lies in; of other packages, the first word."""
    if name.partition(".")[0] != "initdsl":
        return name.partition(".")[0]
    modules = {file.module for file in files()}
    while name not in modules:
        name = name.rpartition(".")[0]
    return name


@dataclass(frozen=True)
class Function:
    """One function and its length: `Function("filling/execute.py", "execute", 60, 41)`."""

    file: str
    name: str
    line: int
    lines: int

    def __str__(self) -> str:
        return f"{self.file}::{self.name}"


def functions() -> Iterator[Function]:
    """Yield every function and method of the package, those inside of others too."""
    for file in files():
        for node in ast.walk(file.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                yield Function(file.name, node.name, node.lineno, node.end_lineno - node.lineno + 1)


def script(path: str) -> ModuleType:
    """A script of the repository, imported from its file."""
    spec = importlib.util.spec_from_file_location(path.replace("/", "_").removesuffix(".py"), ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
