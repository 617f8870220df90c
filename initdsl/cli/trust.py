"""The one rule of what runs: code that the command line names, or that of a folder somebody says they trust.

`model` of a pyproject.toml is such code. It stands for `--model` under `--trust`, and is nothing but text without it;
so are the modules of `import`, and the folders of `pythonpath`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from initdsl.comparing.revisions import revision_of
from initdsl.linter.config import Config, find_config
from initdsl.text.search_path import behind_standard_library

from .console import fail, reported

__all__ = ["imports_of_settings", "model_of_settings", "path_of", "refuse_untrusted", "settings_of", "trust_option"]


Command = TypeVar("Command", bound=Callable[..., Any])


def trust_option() -> Callable[[Command], Command]:
    """Declare `--trust` and `--no-trust`; neither is None."""
    text = "Run the model that `pyproject.toml` names (it is code), or do without it."
    return click.option("--trust/--no-trust", "trust", default=None, help=text)


def settings_of(rules: str | None = None) -> Config:
    """Return the settings that hold for a rule file: of the nearest pyproject.toml above it, as for the linter.

    What is no rule file (a saved plan, standard input, nothing at all) has those of the working folder. Exits with 2
    where they can't be right.
    """
    path = None if rules is None else path_of(rules)
    is_rule_file = path is not None and path != "-" and not path.endswith(".json")
    if path is None or not is_rule_file or (os.path.exists(path) and not os.path.isfile(path)):
        return reported(lambda: find_config(os.getcwd()))
    return reported(lambda: find_config(os.path.dirname(os.path.abspath(path))))


def path_of(rules: str) -> str:
    """Return the path of a rule file, without the revision of `REV:path`."""
    revision = revision_of(rules)
    return rules if revision is None else revision.path


def model_of_settings(model: str | None, trust: bool | None, config: Callable[[], Config]) -> str | None:
    """Return `--model`, else under `--trust` the model that settings name; they are read where they count only.

    Under `--trust` modules are looked for in the folders of `pythonpath` too.
    """
    if not trust:
        return model
    settings = config()
    _search_as_set(settings)
    return model if model is not None else _model_of(settings)


def _search_as_set(config: Config) -> None:
    for folder in reversed(config.pythonpath):
        behind_standard_library(os.path.join(config.folder.absolute(), folder))


def _model_of(config: Config) -> str | None:
    if config.model is None:
        return None
    place, colon, attribute = config.model.rpartition(":")
    folder = str(config.folder)
    if folder == os.getcwd():
        return config.model
    if place.endswith(".py") or os.sep in place:
        return f"{os.path.join(folder, place)}{colon}{attribute}"
    behind_standard_library(folder)
    return config.model


def imports_of_settings(trust: bool | None, rules: Iterable[str | None]) -> tuple[str, ...]:
    """Return the modules that the settings of rule files name to be imported, under `--trust`; none without it."""
    places: list[str] = []
    for config in map(settings_of, rules) if trust else ():
        folder = str(config.folder)
        _search_as_set(config)
        if config.imports and folder != os.getcwd():
            behind_standard_library(folder)
        places += [os.path.join(folder, place) if place.endswith(".py") else place for place in config.imports]
    return tuple(dict.fromkeys(places))


def refuse_untrusted(trust: bool | None, config: Config, otherwise: str) -> None:
    """Exit with 2 where only settings say which model it is, by code that nobody has said may run."""
    if trust is None and config.model is not None:
        file = config.folder / "pyproject.toml"
        message = f"`{file}` names the model `{config.model}`: code that runs only in a folder that you trust"
        fail(message, f"add `--trust` to run it, or {otherwise}")
