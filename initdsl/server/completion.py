"""What can be typed at a place: the grammar says which kind, the surroundings say which names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path as FilePath
from typing import Literal

from initdsl.language.expressions.functions import CHOICES, FANS, FUNCTIONS, PARAMETERS, WORDED
from initdsl.language.rules.loader import packaged_recipes
from initdsl.language.syntax.grammar import statement_words, words_of
from initdsl.language.syntax.highlight import words
from initdsl.language.syntax.nodes import Keep
from initdsl.language.syntax.parser import accepted
from initdsl.linter import all_lints
from initdsl.planning.loads import ARGUMENTS as LOAD_ARGUMENTS
from initdsl.planning.loads import WORDS as LOAD_WORDS
from initdsl.planning.lookups import FACT_NAMES
from initdsl.text.source import Span
from initdsl.text.wording import value_text

from .calls import CallAround, call_around, open_brackets, path_before
from .colours import coloured
from .known import Known, torch_classes
from .outline import Outline
from .pieces import AROUND, statement
from .words import FUNCTION_TEXTS, description

__all__ = ["Item", "completions"]


WORD = re.compile(r"[\w*]*\Z")


USE = re.compile(r'(?:^|[\s;{}])use\s+"([^"\n]*)\Z')


# a comment that silences a finding, as far as it is typed
SILENCED = re.compile(
    r"#\s*initdsl:\s*(?:(?P<form>ignore(?:-file)?)\[(?P<given>(?:[\w-]+\s*,\s*)*))?(?P<word>[\w-]*)\Z"
)


# so many proposals are made, and so many modules looked at for them
MOST, MODULES = 400, 2000


# what modules without a manifest are taken to have
USUAL = ("weight", "bias")


Kind = Literal["keyword", "class", "member", "module", "function", "parameter", "enum", "variable", "value", "file"]


# an expectation of a number, up to where that is compared
MEASURED = re.compile(rf"\bexpect\s.*\s(?:{'|'.join(words_of('MEASURE'))})\Z", re.DOTALL)


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
    silenced = SILENCED.search(text, line, offset)
    if silenced is not None and _is_comment(found, text, silenced.start()):
        start = silenced.start("word")
        return Span(start, offset), list(_suppressions(silenced, text[start:offset].lower()))
    used = USE.search(text[line:offset])
    if used is not None:
        return _quoted(text, line + used.start(1), offset), list(_files(path))
    word = WORD.search(text, line, offset)
    start = word.start() if word is not None else offset
    if _is_comment(found, text, offset):
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


def _is_comment(found: Outline, text: str, offset: int) -> bool:
    """Tell whether an offset lies in a comment, or at its first character."""
    if any(begin <= offset <= end for begin, end in found.pieces.comments):
        return True
    number = found.pieces.at(offset)
    return number >= 0 and any(
        colour.kind == "comment" and colour.start <= offset - found.pieces.pieces[number].start <= colour.end
        for colour in coloured(found.pieces.pieces[number].text)
    )


def _suppressions(silenced: re.Match[str], typed: str) -> Iterator[Item]:
    """Yield the lints that a suppression may name, or the forms that it has."""
    if silenced["form"] is None:
        items = [
            Item("ignore[", "keyword", "no such finding on this line"),
            Item("ignore-file[", "keyword", "nor in this file"),
        ]
    else:
        given = re.findall(r"[\w-]+", silenced["given"] or "")
        items = [Item(lint.name, "value", lint.summary) for lint in all_lints().values() if lint.name not in given]
    yield from (item for item in items if not typed or _likely(typed, item.label))


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
    if apart and MEASURED.search(before) and accepted(f"{place.before}= "):
        yield Item("in", "keyword", "between two numbers: `in [0, 1]`")
        return
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
        expectations = [word for name in ("MEASURE", "STATE", "TIED") if name in expected for word in words_of(name)]
        yield from (Item(word, "keyword", description(word)) for word in expectations)
        yield from (Item(word, "keyword", description(word)) for word in words()["word"] if word.upper() in expected)


# ---- selectors


def _classes(known: Known) -> Iterator[Item]:
    """Yield the classes of the model's modules, or torch's."""
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
    choices = tuple(_choices(place, call))
    yield from choices
    if call is not None and call.argument is None:
        yield from _keywords(place, call)
    for name, declaration in place.found.visible(place.number).items():
        yield Item(name, "variable", place.found.pieces.pieces[declaration.piece].text)
    if choices and call is not None and call.argument is not None:
        return
    index = _indexed(place.before)
    yield from _attributes_of_owners(place, index)
    if index is None and (call is None or (registry.get(call.function) is None and call.function not in PLAIN)):
        for name in registry:
            yield Item(name, "function", registry[name].signature, registry[name].doc)
    for name in (*FUNCTIONS, *FANS, "len", *(("load",) if index is None else ())):
        yield Item(name, "function", *FUNCTION_TEXTS[name])
    yield from (Item(name, "variable", description(name)) for name in FACT_NAMES)
    yield from (Item(word, "value", description(word)) for kind in ("constant", "pseudo") for word in words()[kind])


# functions in whose arguments nothing is drawn
PLAIN = ("load", "len", "index", "linspace", "calculate_gain", "base_shape", *FANS)


def _indexed(before: str) -> str | None:
    """Return the selector whose `[...]` is being typed, as far as it is written; None for none."""
    openers = open_brackets(before)
    at = openers[-1][0] if openers else -1
    if at < 1 or before[at] != "[" or not (before[at - 1].isalnum() or before[at - 1] in "_)]*+"):
        return None
    return path_before(before[:at])


def _attributes_of_owners(place: _Place, index: str | None) -> Iterator[Item]:
    """Yield the plain attributes of the modules whose tensors a statement sets; in an index those that can be one."""
    network = place.known.network
    targets = index if index is not None else _targets(place.before)
    rule = statement(f"keep {targets}", place.outer >= 0) if targets and network is not None else None
    if not isinstance(rule, Keep) or network is None:
        return
    kinds: tuple[type, ...] = (int, type(None)) if index is not None else (bool, int, float, tuple)
    matches = place.known.selected(place.found, place.outer, rule.targets, f"keep {targets}", place.number) or ()
    for module in list(dict.fromkeys(match.module for match in matches if match.tensor is not None))[:50]:
        for name, value in network.modules[module].attributes().items():
            if isinstance(value, kinds) and not (index is not None and isinstance(value, bool)):
                yield Item(name, "member", value_text(value))


def _targets(before: str) -> str:
    """Return what stands in front of a statement's operator."""
    depth = 0
    for colour in coloured(before):
        text = before[colour.start : colour.end]
        if colour.kind == "punctuation":
            depth += sum(c in "([{" for c in text) - sum(c in ")]}" for c in text)
        elif colour.kind == "operator" and depth == 0 and (text == "~" or text.endswith("=")):
            return before[: colour.start].rstrip()
    return ""


def _choices(place: _Place, call: CallAround | None) -> Iterator[Item]:
    """Yield the words that the argument being typed may be."""
    if call is None:
        return
    initializer = place.known.registry.get(call.function)
    if initializer is not None:
        parameter = initializer.parameter(call.argument) if call.argument else None
        if call.argument is None and call.position < len(initializer.parameters):
            parameter = initializer.parameters[call.position]
        if parameter is not None:
            yield from (Item(word, "enum", parameter.name) for word in parameter.choices)
    elif call.function in WORDED:
        names, worded = PARAMETERS[call.function], WORDED[call.function]
        if call.argument == worded or (call.argument is None and names.index(worded) == call.position):
            yield from (Item(word, "enum", worded) for word in CHOICES[call.function])
    elif call.function == "load":
        yield from (Item(word, "enum", call.argument or "") for word in LOAD_WORDS.get(call.argument or "", ()))


def _keywords(place: _Place, call: CallAround) -> Iterator[Item]:
    """Yield the arguments that may be given by name."""
    initializer = place.known.registry.get(call.function)
    if initializer is not None:
        for one in initializer.parameters:
            if one.name not in call.given:
                detail = "required" if one.required else f"default {value_text(one.default)}"
                yield Item(f"{one.name}=", "parameter", detail)
    elif call.function == "load" and call.position:
        yield from (Item(f"{name}=", "parameter", "of load") for name in LOAD_ARGUMENTS[1:] if name not in call.given)
    elif call.function == "resize_grid" and call.position:
        names = PARAMETERS[call.function][1:]
        yield from (Item(f"{name}=", "parameter", "of resize_grid") for name in names if name not in call.given)
