"""Python that the command line names, imported: modules, files, and what models are in them."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import NoReturn

from initdsl.text.search_path import behind_standard_library

from .console import fail

__all__ = ["import_code", "networks_of", "own_streams"]


# where projects keep their packages
USUAL_FOLDERS = ("src", "lib", "python")


def import_code(place: str) -> ModuleType:
    """Return the module of a name, or of the path of a `.py` file; exit with 2 where it can't be imported."""
    is_path = place.endswith(".py") or os.sep in place
    if is_path and not os.path.isfile(place):
        fail(f"there is no file `{place}`")
    if is_path and not place.endswith(".py"):
        fail(f"`{place}` is not a Python file")
    _search_around(place, is_path)
    try:
        with own_streams():
            return _run_file(place) if is_path else importlib.import_module(place)
    except ModuleNotFoundError as error:
        _fail_for_want(place, error)
    except (Exception, SystemExit) as error:
        fail(f"importing `{place}` raised {type(error).__name__}: {error}")


def _fail_for_want(place: str, error: ModuleNotFoundError) -> NoReturn:
    """Say which module was not found, of the command line or of what that imports, and exit with 2."""
    name = error.name
    if name is None:
        fail(f"importing `{place}` raised {type(error).__name__}: {error}")
    if f"{place}.".startswith(f"{name}."):
        fail(f"no module is named `{name}`", _where_it_lies(name))
    fail(f"`{place}` imports `{name}`, and no module is named so", _where_it_lies(name))


def _where_it_lies(name: str) -> str:
    """Return the hint for a module that is in none of the folders that are searched."""
    top = name.partition(".")[0]
    for folder in USUAL_FOLDERS:
        if os.path.isdir(os.path.join(folder, top)) or os.path.isfile(os.path.join(folder, f"{top}.py")):
            return (
                f'it lies in `{folder}`: install the project, or set `pythonpath = ["{folder}"]` in `[tool.initdsl]` '
                "of pyproject.toml and add `--trust`"
            )
    return "the working directory is searched too, and under `--trust` the folders of the setting `pythonpath`"


def networks_of(place: str) -> list[str]:
    """Return the names by which a module, or a `.py` file, has models and what may build one; none where it is not there."""
    is_path = place.endswith(".py") or os.sep in place
    if not is_path:
        _search_around(place, is_path)
    if not (os.path.isfile(place) if is_path else _is_installed(place)):
        return []
    module = import_code(place)
    from torch import nn

    names = []
    for name, value in vars(module).items():
        own = f"{getattr(value, '__module__', None)}.".startswith(f"{module.__name__}.")
        is_class = isinstance(value, type) and issubclass(value, nn.Module) and own
        if not name.startswith("_") and (
            is_class or isinstance(value, nn.Module) or (isinstance(value, FunctionType) and own)
        ):
            names.append(name)
    return names


@contextmanager
def own_streams() -> Iterator[None]:
    """Put the streams of the program back behind a model's own code, which may have taken their place or closed them."""
    before = sys.stdout, sys.stderr
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _search_around(place: str, is_path: bool) -> None:
    """Let modules be found where the code lies that the command line names: beside its file, and in the working folder.

    Not in the working folder where the file lies elsewhere or the module is installed: nothing names a file there then.
    """
    here = os.getcwd()
    if is_path:
        folder = os.path.dirname(os.path.abspath(place))
        if os.path.commonpath([folder, here]) == here:
            behind_standard_library(here)
        behind_standard_library(folder)
    elif not _is_installed(place.partition(".")[0]):
        behind_standard_library(here)


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _run_file(path: str) -> ModuleType:
    name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, module)
    spec.loader.exec_module(module)
    return module
