"""The resolver's selectors against a second, slow and obvious reading of the language, on generated models.

The reference walks `named_modules` and Python's own `type`, `isinstance`, `[...]` and `fnmatch`; it shares no code with
the package.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator

import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import nn

import initdsl
from tests.support.fitting import network_shapes
from tests.support.nets import build, named

CLASS_NAMES = [
    "Linear",
    "FancyLinear",
    "*Linear",
    "LayerNorm",
    "*Norm*",
    "Batch*",
    "Pair",
    "*",
    "nn.Linear",
    "Sequential",
    "ModuleList",
]
STEP_NAMES = ["weight", "bias", "left", "right", "*", "**", "w*", "*a*", "gain", "k0", "0", "3", "running_mean"]
INDICES = ["0", "-1", "1", "3", "4", "*", ":", "1:", ":2", "::2", "3:5", "i"]

steps = st.one_of(
    st.sampled_from(STEP_NAMES).map(lambda n: ("." + n, n)), st.sampled_from(INDICES).map(lambda i: (f"[{i}]", [i]))
)
roots = st.one_of(
    st.just(("net", None)),
    st.tuples(st.sampled_from(CLASS_NAMES), st.booleans()).map(lambda p: (p[0] + "+" * p[1], p)),
)
paths = st.tuples(roots, st.lists(steps, max_size=3)).map(
    lambda p: (p[0][0] + "".join(s for s, _ in p[1]), ("path", p[0][1], [s for _, s in p[1]]))
)
regexes = st.sampled_from(["weight", r"\.0\.", "^left", "[35]", "a$", r"(left|right)\.gain"]).map(
    lambda r: (f"/{r}/", ("regex", r))
)
units = st.one_of(paths, paths, paths, regexes)
selectors = st.one_of(
    units,
    st.tuples(units, st.booleans(), units).map(
        lambda t: (f"{t[0][0]} {'not ' * t[1]}in {t[2][0]}", ("in", t[0][1], t[1], t[2][1]))
    ),
    st.tuples(units, units).map(lambda t: (f"({t[0][0]}, {t[1][0]})", ("or", t[0][1], t[1][1]))),
)


# ---- the reference: things are (module name, module) or (tensor name, tensor)


def join(name: str, more: str) -> str:
    return f"{name}.{more}" if name else more


def modules_below(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for inner, child in module.named_modules():
        yield join(name, inner) if inner else name, child


def is_class(module: nn.Module, pattern: str, subclasses: bool) -> bool:
    classes = type(module).__mro__ if subclasses else (type(module),)
    for cls in classes:
        if pattern == "nn.Linear":
            if cls is nn.Linear:
                return True
        elif cls is not object and fnmatch.fnmatchcase(cls.__name__, pattern):
            return True
    return False


def after(thing: tuple[str, object], step: object, last: bool) -> Iterator[tuple[str, object]]:
    name, module = thing
    if not isinstance(module, nn.Module):
        return
    if isinstance(step, list):
        yield from indexed(name, module, step[0])
        return
    children = dict(module.named_children())
    parameters = dict(module.named_parameters(recurse=False))
    if step == "**":
        for inner, child in modules_below(name, module):
            yield inner, child
            if last:
                yield from ((join(inner, k), p) for k, p in child.named_parameters(recurse=False))
        return
    everything = {**children, **parameters}
    if "*" not in step:
        everything |= dict(module.named_buffers(recurse=False))
    for key, value in everything.items():
        if fnmatch.fnmatchcase(key, step):
            yield join(name, key), value


def indexed(name: str, module: nn.Module, index: str) -> Iterator[tuple[str, object]]:
    children = dict(module.named_children())
    if isinstance(module, nn.Sequential | nn.ModuleList):
        pairs = list(enumerate(children))
        if index in ("*", "i"):
            chosen = pairs
        elif ":" in index:
            chosen = pairs[slice(*(int(p) if p else None for p in index.split(":")))]
        else:
            chosen = [pairs[int(index)]] if -len(pairs) <= int(index) < len(pairs) else []
    else:
        numbered = sorted((int(k), k) for k in children if k.isdigit())
        if index == "*":
            chosen = numbered or (list(enumerate(children)) if isinstance(module, nn.ModuleDict) else [])
        elif index == "i":
            chosen = numbered
        elif ":" in index:
            start, stop, step = ([int(p) if p else None for p in index.split(":")] + [None])[:3]
            first = start if start is not None else min((k for k, _ in numbered), default=0)
            wanted = range(first, stop if stop is not None else 10**6, step or 1)
            chosen = [(k, key) for k, key in numbered if k in wanted]
        else:
            chosen = [(int(index), index)] if index in children else []
    for _, key in chosen:
        yield join(name, key), children[key]


def select(net: nn.Module, selector: tuple, modules: bool = False) -> list[tuple[str, object]]:
    kind = selector[0]
    if kind == "regex":
        space = list(net.named_modules()) if modules else list(net.named_parameters())
        return [thing for thing in space if re.search(selector[1], thing[0])]
    if kind == "or":
        return select(net, selector[1], modules) + select(net, selector[2], modules)
    if kind == "in":
        _, inner, negated, container = selector
        inside = {
            n for name, m in select(net, container, True) if isinstance(m, nn.Module) for n, _ in modules_below(name, m)
        }
        found = []
        for name, thing in select(net, inner):
            owner = name if isinstance(thing, nn.Module) else name.rpartition(".")[0]
            if (owner in inside) is not negated:
                found.append((name, thing))
        return found
    _, root, path = selector
    things: list[tuple[str, object]] = (
        [("", net)] if root is None else [t for t in net.named_modules() if is_class(t[1], *root)]
    )
    bound = sum(step == ["i"] for step in path)
    for number, step in enumerate(path):
        things = [t for thing in things for t in after(thing, step, number == len(path) - 1)]
    if bound > 1:  # the same name twice is the same index
        return []
    return things


def pieces_of_tensors(net: nn.Module, selector: tuple) -> list[tuple[str, object]]:
    """The tensors of which a path that ends in an index takes pieces; modules beside them have no such child."""
    return [thing for thing in select(net, whole(selector), True) if isinstance(thing[1], torch.Tensor)]


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@example(
    shape=("seq", ["batch", ("seq", ["batch"])]),
    selector=("/weight/ in net.*.*[0]", ("in", ("regex", "weight"), False, ("path", None, ["*", "*", ["0"]]))),
)
@example(
    shape=("pair", ["batch"]),
    selector=("net not in net.*", ("in", ("path", None, []), True, ("path", None, ["*"]))),
)
@given(shape=network_shapes, selector=selectors)
def test_the_resolver_reads_selectors_as_the_reference_does(shape: object, selector: tuple[str, tuple]) -> None:
    text, reading = selector
    if text.count("[i]") > 1:
        return
    net = build(shape)
    tensors = {id(t): n for n, t in named(net).items()}
    expected = {tensors[id(thing)] for _, thing in select(net, reading) if isinstance(thing, torch.Tensor)}
    parts = [part for part in pieces(reading) if part[0] != "in"]
    container_holds_no_modules = any(
        things and not any(isinstance(t, nn.Module) for _, t in things)
        for part in containers(reading)
        for things in [select(net, part, True) or pieces_of_tensors(net, part)]
    )
    refused = None
    try:
        plan = initdsl.plan(net, f"keep {text}")
    except initdsl.ResolveError as error:
        refused = error
    if refused is not None:
        names = {d.name for d in refused.diagnostics}
        known = {"unmatched-selector", "subclass-left-out", "needs-module", "bad-index", "nothing-to-do"}
        assert names <= known | {"index-in-a-part"}, refused
        if "index-in-a-part" in names:  # keys that are numbers and don't start at 0: a stage of a pipeline
            held = [list(module._modules) for module in net.modules()]
            assert any(keys and "0" not in keys and all(map(str.isdigit, keys)) for keys in held)
            return
        if "nothing-to-do" in names:  # of several modules none may be without state
            assert any(isinstance(t, nn.Module) and not t.state_dict() for _, t in select(net, reading))
        elif "needs-module" in names:
            assert container_holds_no_modules
        elif "bad-index" not in names:
            nothing = [p for p in (reading, *parts) if not select(net, p) or not select(net, p, True)]
            assert nothing, f"{text}: refused, but the reference finds {expected}"
        return
    kept = {entry.name for entry in plan if entry.status == "kept"}
    below = {  # of a module its state: parameters and persistent buffers
        tensors[id(t)]
        for _, thing in select(net, reading)
        if isinstance(thing, nn.Module)
        for t in thing.state_dict(keep_vars=True).values()
    }
    assert kept == expected | below, text


def whole(reading: tuple) -> tuple:
    """A path without an index at its end: a slice of a parameter is no module either."""
    indexed = reading[0] == "path" and reading[2] and isinstance(reading[2][-1], list)
    return (*reading[:2], reading[2][:-1]) if indexed else reading


def pieces(reading: tuple) -> Iterator[tuple]:
    yield reading
    if reading[0] == "in":
        yield from pieces(reading[1])
        yield from pieces(reading[3])
    elif reading[0] == "or":
        yield from pieces(reading[1])
        yield from pieces(reading[2])


def containers(reading: tuple) -> Iterator[tuple]:
    if reading[0] == "in":
        yield reading[3]
