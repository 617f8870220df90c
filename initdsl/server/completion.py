"""What can be typed at a place: the grammar says which kind, the surroundings say which names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path as FilePath
from typing import Literal

from initdsl.language.expressions.functions import FANS, FUNCTIONS
from initdsl.language.rules.loader import packaged_recipes
from initdsl.language.syntax.grammar import statement_words
from initdsl.language.syntax.highlight import words
from initdsl.language.syntax.nodes import Keep
from initdsl.language.syntax.parser import accepted
from initdsl.planning.lookups import FACT_NAMES
from initdsl.text.source import Span
from initdsl.text.wording import value_text

from .calls import call_around, open_brackets, path_before
from .colours import coloured
from .known import Known, torch_classes
from .outline import Outline
from .pieces import AROUND, statement
from .words import description

__all__ = ["Item", "completions"]


WORD = re.compile(r"[\w*]*\Z")


USE = re.compile(r'(?:^|[\s;{}])use\s+"([^"\n]*)\Z')


# so many proposals are made, and so many modules looked at for them
MOST, MODULES = 400, 2000


# what modules without a manifest are taken to have
USUAL = ("weight", "bias")


Kind = Literal["keyword", "class", "member", "module", "function", "parameter", "enum", "variable", "value", "file"]


@dataclass(frozen=True, slots=True)
class Item:
    """One proposal: `Item("normal", "function", "normal(mean=0.0, std=1.0)")`."""

    label: str
    kind: Kind
    detail: str = ""
    documentation: str = ""


def completions(found: Outline, offset: int, known: Known, path: str = "") -> tuple[Span, list[Item]]:
    """Return the characters that what is typed at an offset would replace, and what can stand there."""
    text = found.pieces.text
    line = text.rfind("\n", 0, offset) + 1
    used = USE.search(text[line:offset])
    if used is not None:
        return _quoted(text, line + used.start(1), offset), list(_files(path))
    word = WORD.search(text, line, offset)
    start = word.start() if word is not None else offset
    if any(begin < offset <= end for begin, end in found.pieces.comments):
        return Span(offset, offset), []
    piece, number = found.pieces.typed(start)
    outer = piece.outer if piece is not None else found.pieces.enclosing(start)
    before = text[piece.start if piece is not None else start : start]
    if _in_string_or_comment(before):
        return Span(offset, offset), []
    items = {item.label: item for item in _items(_Place(found, outer, number, before, known))}
    typed = text[start:offset].lower()
    return Span(start, offset), list(
        islice((item for item in items.values() if not typed or _likely(typed, item.label.lower())), MOST)
    )


def _quoted(text: str, start: int, offset: int) -> Span:
    """Return the string from `start` on: to its closing quote in this line, or to `offset`."""
    end, newline = text.find('"', offset), text.find("\n", offset)
    return Span(start, offset if end < 0 or 0 <= newline < end else end)


def _likely(typed: str, label: str) -> bool:
    """Whether the letters typed occur in a label in this order, as editors filter."""
    letters = iter(label)
    return all(letter in letters for letter in typed)


def _in_string_or_comment(before: str) -> bool:
    colours = coloured(before)
    last = colours[-1] if colours else None
    if last is not None and last.kind == "comment":
        return True
    return before.rpartition("\n")[2].replace('\\"', "").count('"') % 2 == 1


def _files(path: str) -> Iterator[Item]:
    for name, place in packaged_recipes().items():
        yield Item(f"initdsl:{name}", "file", "packaged recipe", _first_comment(place))
    folder = os.path.dirname(os.path.abspath(path)) if path else os.getcwd()
    try:
        names = sorted(os.listdir(folder))[:MOST]
    except OSError:
        return
    for name in names:
        if name.endswith(".init") and name != os.path.basename(path):
            yield Item(name, "file", "rule file")


def _first_comment(place: FilePath) -> str:
    try:
        return place.read_text("utf-8").partition("\n")[0].lstrip("# ")
    except (OSError, ValueError):
        return ""


@dataclass(frozen=True)
class _Place:
    """Where something is typed: the block, the number its piece has or would have, the statement so far."""

    found: Outline
    outer: int
    number: int
    before: str
    known: Known


def _items(place: _Place) -> Iterator[Item]:
    """Yield what the grammar and the surroundings propose for a place."""
    before = place.before.rstrip(" \t")
    apart = before != place.before
    if before.endswith(".") and not apart:
        yield from _members(place, before[:-1])
        return
    if not apart and re.search(r"[\w\])*+]\[$", before):
        yield from _indices(place, before[:-1])
    expected = accepted((AROUND if place.outer >= 0 else "") + place.before)
    if "TIE" in expected:
        yield from (Item(word, "keyword", description(word)) for word in statement_words())
    if {"SET", "DRAW"} <= expected and not apart:
        return
    head = _with_predicates(place.before)
    if "NUMBER" in expected:
        yield from _values(place)
    elif "NAME" in expected and head:
        yield from _attributes(place, head)
    if "CLASS" in expected:
        yield Item("net", "keyword", description("net"))
        yield from _classes(place.known)
    if apart:
        yield from (Item(word, "keyword", description(word)) for word in words()["word"] if word.upper() in expected)


# ---- selectors


def _classes(known: Known) -> Iterator[Item]:
    """Yield the classes of the network's modules, or torch's."""
    if known.network is None:
        yield from (Item(name, "class", "torch.nn") for name in torch_classes())
        return
    for cls, indices in known.network.by_class.items():
        count = len(indices)
        yield Item(cls.name, "class", f"{count} module{'s' * (count != 1)}", cls.qualname)


def _modules(place: _Place, head: str) -> list[int]:
    """Return the modules that a selector's beginning leads to, by number."""
    found, outer = place.found, place.outer
    if place.known.network is None:
        return []
    text = f"keep {head}"
    rule = statement(text, outer >= 0)
    if not head:
        if outer < 0:
            return []
        block = found.pieces.pieces[outer]
        outer, text = block.outer, f"keep {block.text}"
        rule = statement(text, outer >= 0)
    if not isinstance(rule, Keep):
        return []
    matches = place.known.selected(found, outer, rule.targets, text, place.number)
    return list(dict.fromkeys(match.module for match in matches or () if match.tensor is None))[:MODULES]


def _members(place: _Place, before: str) -> Iterator[Item]:
    """Yield the parameters, buffers and children of what a path leads to."""
    network = place.known.network
    if network is None:
        yield from (Item(name, "member", "parameter") for name in USUAL)
    else:
        yield from _distinct(_members_of(place, path_before(before)))
    yield Item("*", "member", "every parameter directly here")
    yield Item("**", "member", "every parameter at any depth")


def _members_of(place: _Place, head: str) -> Iterator[Item]:
    network = place.known.network
    assert network is not None
    for index in _modules(place, head):
        module = network.modules[index]
        for name, tensor in (*module.parameters.items(), *module.buffers.items()):
            info = network.tensors[tensor]
            yield Item(name, "member", f"{info.kind} {list(info.shape)}")
        for name, child in module.children.items():
            if not (module.container and name.isdigit()):
                yield Item(name, "module", network.modules[child].cls.name)


def _distinct(items: Iterator[Item]) -> Iterator[Item]:
    """Yield the first item of each label."""
    labels: set[str] = set()
    for item in items:
        if item.label not in labels:
            labels.add(item.label)
            yield item


def _indices(place: _Place, before: str) -> Iterator[Item]:
    """Yield the indices and keys of the containers that a path leads to."""
    network = place.known.network
    if network is None:
        return
    containers = (network.modules[index] for index in _modules(place, path_before(before)))
    children = (child for module in containers if module.container for child in module.children.items())
    items = list(
        _distinct(
            Item(name if name.isdigit() else f'"{name}"', "module", network.modules[child].cls.name)
            for name, child in children
        )
    )
    yield from items
    if items:
        yield Item("*", "module", "every index")


def _with_predicates(before: str) -> str:
    """Return the selector whose `(...)` is being typed; `""` for none."""
    openers = open_brackets(before)
    return path_before(before[: openers[-1][0]]) if openers and openers[-1][1] is None else ""


def _attributes(place: _Place, head: str) -> Iterator[Item]:
    """Yield the attributes of the modules that a path leads to."""
    network = place.known.network
    for index in _modules(place, head)[:50]:
        assert network is not None
        yield from (Item(name, "member", str(value)) for name, value in network.modules[index].attributes().items())


# ---- expressions


def _values(place: _Place) -> Iterator[Item]:
    """Yield what an expression can begin with: arguments of the call around, names, functions, constants."""
    registry = place.known.registry
    call = call_around(place.before)
    initializer = registry.get(call.function) if call is not None else None
    yield from _arguments(place)
    for name, declaration in place.found.visible(place.number).items():
        yield Item(name, "variable", place.found.pieces.pieces[declaration.piece].text)
    if initializer is None:
        for name in registry:
            yield Item(name, "function", registry[name].signature, registry[name].doc)
    yield from (Item(name, "function", "function") for name in (*FUNCTIONS, *FANS, "len", "load"))
    yield from (Item(name, "variable", "of the parameter") for name in FACT_NAMES)
    yield from (Item(word, "value", description(word)) for kind in ("constant", "pseudo") for word in words()[kind])


def _arguments(place: _Place) -> Iterator[Item]:
    """Yield the words that the argument being typed may be, and the arguments that may be given by name."""
    call = call_around(place.before)
    initializer = place.known.registry.get(call.function) if call is not None else None
    if call is None or initializer is None:
        return
    parameter = initializer.parameter(call.argument) if call.argument else None
    if parameter is None and call.argument is None and call.position < len(initializer.parameters):
        parameter = initializer.parameters[call.position]
    if parameter is not None:
        yield from (Item(word, "enum", parameter.name) for word in parameter.choices)
    if call.argument is None:
        for one in initializer.parameters:
            if one.name not in call.given:
                yield Item(
                    f"{one.name}=", "parameter", "required" if one.required else f"default {value_text(one.default)}"
                )
