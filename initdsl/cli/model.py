"""`--model`: the one option that runs Python; and the other options that commands on a network share."""

from __future__ import annotations

import importlib.util
import os
import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from initdsl.text.diagnostic import Diagnostic, InitDSLError, UncoveredParameterWarning, UnmatchedRuleWarning

from .console import fail, show

if TYPE_CHECKING:
    from torch import nn

    from initdsl.network.description import Network

__all__ = [
    "called",
    "configured",
    "find_model",
    "load_model",
    "network_of",
    "read_manifest",
    "read_sample",
    "reported",
    "rule_options",
    "variables",
]


def load_model(spec: str, meta: bool) -> nn.Module:
    """The network a `package.module:attribute` or `path/to/file.py:attribute` names: a module, or what a callable returns.

    A callable is called on the meta device with `meta`. Anything that goes wrong ends the program with exit code 2.
    """
    import torch

    from initdsl.filling.meta.construct import Undrawn

    device = "meta" if meta else "cpu"
    found = find_model(spec)

    def build() -> Any:
        with torch.device(device), Undrawn():
            return found()

    return called(spec, build)() if not isinstance(found, torch.nn.Module) else found


def called(spec: str, build: Callable[[], Any]) -> Callable[[], nn.Module]:
    """A function that calls `build` and returns its network; what goes wrong in it ends the program with exit code 2."""
    from torch import nn

    def checked() -> nn.Module:
        try:
            made = build()
        except Exception as error:
            fail(f"`{spec}` raised {type(error).__name__}: {error}")
        if not isinstance(made, nn.Module):
            fail(f"`{spec}` returned {type(made).__name__}, not an nn.Module")
        return made

    return checked


def find_model(spec: str) -> nn.Module | Callable[[], Any]:
    """The network or the callable that a `package.module:attribute` or `path/to/file.py:attribute` names."""
    from torch import nn

    place, colon, attribute = spec.rpartition(":")
    if not colon or not place or not attribute:
        fail(f"`{spec}` names no network", "write `package.module:attribute` or `path/to/file.py:attribute`")
    module = _import(place)
    found: Any = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            from initdsl.text.wording import did_you_mean

            fail(f"`{place}` has no `{part}`", did_you_mean(part, [n for n in dir(found) if not n.startswith("_")]))
    if not isinstance(found, nn.Module) and not callable(found):
        fail(f"`{spec}` is {type(found).__name__}, neither an nn.Module nor a callable that returns one")
    result: nn.Module | Callable[[], Any] = found
    return result


def _import(place: str) -> Any:
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    path = place.endswith(".py") or os.sep in place
    if path and not os.path.isfile(place):
        fail(f"there is no file `{place}`")
    if path and not place.endswith(".py"):
        fail(f"`{place}` is not a Python file")
    try:
        return _run_file(place) if path else importlib.import_module(place)
    except ModuleNotFoundError as error:
        fail(f"no module is named `{error.name}`", "the working directory is searched too")
    except (Exception, SystemExit) as error:
        fail(f"importing `{place}` raised {type(error).__name__}: {error}")


def _run_file(path: str) -> Any:
    name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, module)
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    spec.loader.exec_module(module)
    return module


def network_of(model: str | None, manifest: str | None, rules: str) -> nn.Module | Network:
    """The network of `--model` (on the meta device) or `--manifest`, or what the settings say that a rule file is for."""
    if model is None and manifest is None:
        model, manifest = configured(rules)
    if (model is None) == (manifest is None):
        fail("one of `--model` and `--manifest` says which network", "as in `--model package.module:attribute`")
    if model is not None:
        return load_model(model, meta=True)
    assert manifest is not None
    return read_manifest(manifest)


def configured(rules: str) -> tuple[str | None, str | None]:
    """The model, else the manifest, that the settings name for a rule file."""
    from initdsl.linter.config import find_config

    config = reported(lambda: find_config(os.getcwd()))
    return (config.model, None) if config.model is not None else (None, config.manifest_of(rules))


def read_manifest(path: str) -> Network:
    """The network a manifest file describes; exit code 2 where it is none."""
    import json

    from initdsl.network.description import Network
    from initdsl.network.manifest import LARGEST
    from initdsl.text.files import read_whole

    try:
        return Network.from_manifest(json.loads(read_whole(path, LARGEST)))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        fail(f"can't read the manifest `{path}`: {reason.lower()}")


def read_sample(path: str) -> dict[str, Any]:
    """The tensors of a safetensors file, by name; exit code 2 where it can't be read."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not os.path.isfile(path):
        fail(f"there is no file `{path}`", "a sample is a .safetensors file")
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError, KeyError, AttributeError) as error:  # the last two: a dtype it lacks
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        fail(f"the sample `{path}` can't be read as safetensors: {reason.lower()}", "a sample is a .safetensors file")


def variables(settings: tuple[str, ...]) -> dict[str, Any]:
    """`--set name=value` options: numbers, `true`, `false`, `none`, or text."""
    found: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not name.strip().isidentifier():
            fail(f"`--set {setting}` is not `name=value`")
        found[name.strip()] = _value(text.strip())
    return found


def _value(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if text in words:
        return words[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text.strip('"')


def rule_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that lays rules on a network."""
    for option in reversed(
        [
            click.option("--model", metavar="M:F", help="The network: package.module:attribute or file.py:attribute."),
            click.option("--set", "settings", metavar="NAME=VALUE", multiple=True, help="Override a `let`."),
            click.option("--seed", type=click.IntRange(0, 2**64 - 1), help="Give every parameter a stream of its own."),
            click.option("--strict", is_flag=True, help="A parameter that no rule reaches is an error."),
            click.option(
                "--root", type=click.Path(file_okay=False), help="The folder that `use` and `load` may not leave."
            ),
        ]
    ):
        command = option(command)
    return command


def reported(work: Callable[[], Any]) -> Any:
    """Run `work`; its errors and warnings become findings on standard error, and errors exit code 2."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = work()
        except InitDSLError as error:
            show(error.diagnostics, file=sys.stderr)
            raise SystemExit(2) from None
        except KeyError as error:
            fail(str(error.args[0]))
        except OSError as error:
            reason = error.strerror
            fail(f"can't read `{error.filename}`: {reason.lower()}" if reason and error.filename else str(error))
        except (ValueError, TypeError) as error:
            fail(str(error))
        except RecursionError:
            fail("the network is nested too deeply")
    for warning in caught:
        if not issubclass(warning.category, UnmatchedRuleWarning | UncoveredParameterWarning):
            show([Diagnostic("warning", str(warning.message), severity="warning")], file=sys.stderr)
    return result
