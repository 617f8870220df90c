"""The one rule of what runs: code that the command line names, or that of a folder somebody says they trust.

`model` of a pyproject.toml is such code. It stands for `--model` under `--trust`, and is nothing but text without it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from initdsl.linter.config import Config, find_config
from initdsl.text.search_path import behind_standard_library

from .console import fail, reported

__all__ = ["imports_of_settings", "model_of_settings", "refuse_untrusted", "settings_here", "trust_option"]


Command = TypeVar("Command", bound=Callable[..., Any])


def trust_option() -> Callable[[Command], Command]:
    """Declare `--trust` and `--no-trust`; neither is None."""
    text = "Run, or do without, the model that `pyproject.toml` names: it is code."
    return click.option("--trust/--no-trust", "trust", default=None, help=text)


def settings_here() -> Config:
    """Return the settings that hold in the working folder; exit with 2 where they can't be right."""
    return reported(lambda: find_config(os.getcwd()))


def model_of_settings(model: str | None, trust: bool | None, config: Config | None = None) -> str | None:
    """Return `--model`, else under `--trust` the model that settings name, by default those of the working folder."""
    if model is not None or not trust:
        return model
    config = config or settings_here()
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


def imports_of_settings(trust: bool | None, config: Config | None = None) -> tuple[str, ...]:
    """Return the modules that settings name to be imported, under `--trust`; none without it."""
    config = config or settings_here() if trust else None
    if config is None or not config.imports:
        return ()
    folder = str(config.folder)
    if folder != os.getcwd():
        behind_standard_library(folder)
    return tuple(os.path.join(folder, place) if place.endswith(".py") else place for place in config.imports)


def refuse_untrusted(trust: bool | None, config: Config, otherwise: str) -> None:
    """Exit with 2 where only settings say which network it is, by code that nobody has said may run."""
    if trust is None and config.model is not None:
        file = config.folder / "pyproject.toml"
        message = f"`{file}` names the model `{config.model}`: code that runs only in a folder that you trust"
        fail(message, f"add `--trust` to run it, or {otherwise}")
