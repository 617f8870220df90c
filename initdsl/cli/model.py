"""The model a command is about: that of `--model`, which runs Python, or of `--manifest`."""

from __future__ import annotations

import ast
import inspect
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from initdsl.linter.config import Config
from initdsl.network.description import Network
from initdsl.text.failures import reason
from initdsl.text.wording import did_you_mean, listed

from .console import fail
from .modules import import_code, networks_of, own_streams
from .trust import path_of, refuse_untrusted, settings_of

if TYPE_CHECKING:
    import torch
    from torch import nn


__all__ = [
    "checked_factory",
    "find_model",
    "load_model",
    "named_network",
    "network_of",
    "read_manifest",
    "read_sample",
    "settings_manifest",
    "whole_network",
]


def load_model(spec: str, meta: bool) -> nn.Module:
    """Return the model a `package.module:attribute` or `path/to/file.py:attribute` names, or its callable returns.

    A callable is called on the meta device with `meta`. Anything that goes wrong ends the program with exit code 2.
    """
    import torch

    from initdsl.filling.meta.construct import Undrawn

    model = find_model(spec)
    if isinstance(model, torch.nn.Module):
        return model

    def build() -> Any:
        with torch.device("meta" if meta else "cpu"), Undrawn():
            return model()

    return checked_factory(spec, build)()


def checked_factory(spec: str, build: Callable[[], Any]) -> Callable[[], nn.Module]:
    """Return a function that calls `build` and returns its model; what goes wrong in it exits with 2."""
    from torch import nn

    def factory() -> nn.Module:
        try:
            with own_streams():
                net = build()
        except (Exception, SystemExit) as error:
            fail(f"`{spec}` raised {type(error).__name__}: {error}")
        if not isinstance(net, nn.Module):
            fail(f"`{spec}` returned {type(net).__name__}, not an nn.Module")
        return net

    return factory


def find_model(spec: str) -> nn.Module | Callable[[], Any]:
    """Return the model or the callable that a `package.module:attribute` or `path/to/file.py:attribute` names."""
    from torch import nn

    named, arguments = _called_with(spec)
    place, colon, attribute = named.rpartition(":")
    if not colon or not place or not attribute:
        fail(f"`{spec}` names no model", _which(named.rstrip(":")))
    value: Any = import_code(place)
    for part in attribute.split("."):
        try:
            value = getattr(value, part)
        except (Exception, SystemExit) as error:
            if not isinstance(error, AttributeError):
                fail(f"`{place}` raised {type(error).__name__} when asked for `{part}`: {error}")
            public = [name for name in dir(value) if not name.startswith("_")]
            fail(f"`{place}` has no `{part}`", did_you_mean(part, public))
    if not isinstance(value, nn.Module) and not callable(value):
        fail(f"`{spec}` is {type(value).__name__}, neither an nn.Module nor a callable that returns one")
    if arguments is not None and (isinstance(value, nn.Module) or not callable(value)):
        fail(f"`{named}` is a model that was built already: it takes no arguments", f"write `{named}`")
    model: nn.Module | Callable[[], Any] = partial(value, **arguments) if arguments else value
    if not isinstance(model, nn.Module):
        _refuse_missing_arguments(spec, named, model)
    return model


def _which(place: str) -> str:
    """Return the hint for a `--model` that names a file or module alone: what of it can be named."""
    names = networks_of(place) if place else ()
    module, dot, attribute = place.rpartition(".")
    if not names and dot and not place.endswith(".py") and os.sep not in place and attribute in networks_of(module):
        return f"write `{module}:{attribute}`"
    if not names:
        return "write `package.module:attribute` or `path/to/file.py:attribute`"
    return f"say which of it: {listed([f'{place}:{name}' for name in names], 8)}"


def _refuse_missing_arguments(spec: str, named: str, build: Callable[[], Any]) -> None:
    """Exit with 2 where what builds a model can't be called without further arguments."""
    try:
        signature = inspect.signature(build)
    except (ValueError, TypeError):  # of C: what is missing is said when it is called
        return
    try:
        signature.bind()
    except TypeError as error:
        missing = [
            p.name
            for p in signature.parameters.values()
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]
        if not missing:
            fail(f"`{spec}` can't be called: {error}")
        call = f"{named}({', '.join(f'{name}=...' for name in missing)})"
        fail(
            f"`{spec}` needs {listed(missing)}",
            f'plain values are given as in `--model "{call}"`; for others write a function that returns the model, and name '
            f"it without brackets, as in `{named.rpartition(':')[0]}:build`",
        )


def _called_with(spec: str) -> tuple[str, dict[str, Any] | None]:
    """Return what is named, and the plain values it is called with: `("m:net", {"width": 6})` for `m:net(width=6)`.

    None where it is not called. Nothing but numbers, text, true, false, none and lists of them; exits with 2 for more.
    """
    named, bracket, rest = spec.partition("(")
    if not bracket or ":" not in named or not spec.endswith(")"):
        return spec, None
    try:
        call = ast.parse(f"f({rest}", mode="eval").body
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and not call.args:
            return named, {
                str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg
            }
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        pass
    hint = f"write a function that returns the model and name it without brackets, as in `{named.rpartition(':')[0]}:build`"
    fail(f"`{spec}` may have plain values by name alone, as in `{named}(width=6)`", hint)


def network_of(model: str | None, manifest: str | None, rules: str, trust: bool | None = None) -> nn.Module | Network:
    """Return the model that options, or settings, name for a rule file; exit with 2 where it is none, or two."""
    otherwise = "give `--model` or `--manifest`"
    is_clear = model is None or manifest is None
    network = named_network(model, manifest, rules, trust, otherwise) if is_clear else None
    if network is None:
        fail("one of `--model` and `--manifest` says which model", "as in `--model package.module:attribute`")
    return network


def named_network(
    model: str | None, manifest: str | None, rules: str, trust: bool | None, otherwise: str
) -> nn.Module | Network | None:
    """Return the model of `--model` (on the meta device) or `--manifest`, else that of the manifest that settings name.

    None where none is named. Exits with 2 where only settings name one, a model: `otherwise` is what can be done but
    trust it.
    """
    if model is None and manifest is None:
        config = settings_of(rules)
        manifest = settings_manifest(config, rules)
        if manifest is None:
            refuse_untrusted(trust, config, otherwise)
    if model is not None:
        return load_model(model, meta=True)
    return None if manifest is None else read_manifest(manifest)


def whole_network(whole: str | None) -> nn.Module | Network | None:
    """Return the model that `--whole` names, on the meta device, if it names one; exit with 2 where it is none."""
    if whole is None:
        return None
    return read_manifest(whole) if whole.endswith(".json") else load_model(whole, meta=True)


def settings_manifest(config: Config, rules: str) -> str | None:
    """Return the manifest that settings name for a rule file, if they do; exit with 2 where it lies outside their folder."""
    path = config.manifest_of(path_of(rules))
    if path is not None and not config.holds(path):
        message = f"the manifest `{path}` lies outside the folder of the `pyproject.toml` that names it"
        fail(message, "give it as `--manifest`")
    return path


def read_manifest(path: str) -> Network:
    """Return the model a manifest file describes; exit with 2 where it is none."""
    try:
        return Network.from_manifest_file(path)
    except (OSError, ValueError, RecursionError) as error:
        fail(f"can't read the manifest `{path}`: {_fault(error)}")


def read_sample(path: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file, by name; exit with 2 where it can't be read."""
    from initdsl.checkpoints.safetensors import Safetensors

    if not os.path.isfile(path):
        fail(f"there is no file `{path}`", "a sample is a .safetensors file")
    try:
        stored = Safetensors(path, [path])  # the dtypes that it reads are the same with every torch
        return {name: stored.read(name) for name in stored.tensors}
    except (OSError, ValueError) as error:
        fail(f"the sample `{path}` can't be read as safetensors: {_fault(error)}", "a sample is a .safetensors file")


def _fault(error: Exception) -> str:
    return reason(error) if isinstance(error, OSError) else str(error).lower()
