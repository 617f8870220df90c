"""What can be typed at a place: the grammar says which kind, the surroundings say which names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath

from initdsl.language.expressions.functions import FANS, FUNCTIONS
from initdsl.language.rules.loader import packaged_recipes
from initdsl.language.syntax.highlight import WORDS
from initdsl.language.syntax.nodes import Keep
from initdsl.language.syntax.parser import accepted
from initdsl.planning.names import FACT_NAMES
from initdsl.text.source import Span
from initdsl.text.wording import value_text

from .known import Known, torch_classes
from .outline import Outline, outline
from .pieces import AROUND, Colour, coloured, rule_of

__all__ = ["STATEMENTS", "VALUES", "Item", "call_around", "completions"]


WORD = re.compile(r"[\w*]*\Z")


USE = re.compile(r'(?:^|[\s;{}])use\s+"([^"\n]*)\Z')


MOST = 400


# what modules without a manifest are taken to have
USUAL = ("weight", "bias")


VALUES = {
    "true": "yes", "false": "no", "none": "no value", "inf": "infinity", "nan": "not a number", "pi": "3.14159...",
    "it": "the tensor the rule writes to", "net": "the network",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Item:
    """One proposal. `kind` is one of `keyword class member module function parameter enum variable value file`."""

    label: str
    kind: str
    detail: str = ""
    documentation: str = ""


def completions(text: str, offset: int, known: Known, path: str = "") -> tuple[Span, list[Item]]:
    """What can stand at an offset, and the characters it would replace. Never raises on any text."""
    line = text.rfind("\n", 0, offset) + 1
    used = USE.search(text[line:offset])
    if used is not None:
        start = line + used.start(1)
        end = text.find('"', offset, len(text))
        newline = text.find("\n", offset)
        end = offset if end < 0 or 0 <= newline < end else end
        return Span(start, end), list(_files(path))
    word = WORD.search(text, line, offset)
    start = word.start() if word is not None else offset
    found = outline(text)
    if any(begin < offset <= end for begin, end in found.pieces.comments):
        return Span(offset, offset), []
    piece, at = found.pieces.typed(text, start)
    outer = piece.outer if piece is not None else found.pieces.enclosing(start)
    before = text[piece.start if piece is not None else start : start]
    if _in_string_or_comment(before):
        return Span(offset, offset), []
    place = _Place(found, outer, at, before, known)
    items = {item.label: item for item in place.items()}
    typed = text[start:offset].lower()
    shown = [item for item in items.values() if not typed or _likely(typed, item.label.lower())]
    return Span(start, offset), shown[:MOST]


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


@dataclass
class _Place:
    """Where something is typed: the block, the number its piece has or would have, the statement so far."""

    found: Outline
    outer: int
    number: int
    before: str
    known: Known

    def items(self) -> Iterator[Item]:
        prefix = AROUND if self.outer >= 0 else ""
        before = self.before.rstrip(" \t")
        stripped = before != self.before
        if before.endswith(".") and not stripped:
            yield from self.members(before[:-1])
            return
        if before.endswith("[") and not stripped and re.search(r"[\w\])*+]\[$", before):
            yield from self.indices(before[:-1])
        expected = accepted(prefix + self.before)
        if not expected:
            return
        if "TIE" in expected:
            for word in WORDS["statement"]:
                yield Item(word.lower(), "keyword", STATEMENTS[word.lower()])
        if "SET" in expected and "DRAW" in expected and not stripped:
            return
        if "NUMBER" in expected:
            yield from self.values(expected)
        elif "NAME" in expected and self.predicate() is not None:
            yield from self.attributes(self.predicate() or "")
        if "CLASS" in expected:
            yield Item("net", "keyword", "the network")
            yield from self.classes()
        for word in ("IN", "NOT", "AS", "AND", "OR"):
            if word in expected and stripped:
                yield Item(word.lower(), "keyword", STATEMENTS[word.lower()])

    # ---- selectors

    def classes(self) -> Iterator[Item]:
        network = self.known.network
        if network is not None:
            for cls, indices in network.by_class.items():
                count = len(indices)
                yield Item(cls.name, "class", f"{count} module{'s' * (count != 1)}", cls.qualname)
            return
        for name in torch_classes():
            yield Item(name, "class", "torch.nn")

    def matches(self, head: str) -> list[int]:
        """The modules a selector's beginning leads to."""
        if self.known.network is None:
            return []
        text = f"keep {head}" if head else "keep .**"
        rule, _ = rule_of(text, "statement", self.outer >= 0)
        if not head:
            heads = self.found.pieces.heads(self.outer)
            if not heads:
                return []
            rule, _ = rule_of(f"keep {heads[-1].text}", "statement", len(heads) > 1)
            if not isinstance(rule, Keep):
                return []
            outer = heads[-1].outer
            found = self.known.selected(self.found, outer, rule.targets, f"keep {heads[-1].text}", self.number)
        elif isinstance(rule, Keep):
            found = self.known.selected(self.found, self.outer, rule.targets, text, self.number)
        else:
            return []
        return list(dict.fromkeys(match.module for match in found or () if match.tensor is None))

    def members(self, before: str) -> Iterator[Item]:
        head = _path_before(before)
        network = self.known.network
        if network is None:
            for name in USUAL:
                yield Item(name, "member", "parameter")
        seen = set()
        for index in self.matches(head)[:2000]:
            assert network is not None
            module = network.modules[index]
            for name, tensor in (*module.parameters.items(), *module.buffers.items()):
                if name not in seen:
                    seen.add(name)
                    info = network.tensors[tensor]
                    yield Item(name, "member", f"{info.kind} {list(info.shape)}")
            for name, child in module.children.items():
                if name not in seen and not (module.container and name.isdigit()):
                    seen.add(name)
                    yield Item(name, "module", network.modules[child].cls.name)
        yield Item("*", "member", "every parameter directly here")
        yield Item("**", "member", "every parameter at any depth")

    def indices(self, before: str) -> Iterator[Item]:
        network = self.known.network
        if network is None:
            return
        seen = set()
        for index in self.matches(_path_before(before))[:2000]:
            module = network.modules[index]
            if not module.container:
                continue
            for name, child in module.children.items():
                label = name if name.isdigit() else f'"{name}"'
                if label not in seen:
                    seen.add(label)
                    yield Item(label, "module", network.modules[child].cls.name)
        if seen:
            yield Item("*", "module", "every index")

    def predicate(self) -> str | None:
        """The selector whose `(...)` is being typed."""
        openers = _openers(self.before)
        if not openers or openers[-1][1] is not None:
            return None
        return _path_before(self.before[: openers[-1][0]])

    def attributes(self, head: str) -> Iterator[Item]:
        network = self.known.network
        if network is None or not head:
            return
        seen = set()
        for index in self.matches(head)[:50]:
            for name, value in network.modules[index].attributes().items():
                if name not in seen:
                    seen.add(name)
                    yield Item(name, "member", f"{value}")

    # ---- expressions

    def values(self, expected: Iterable[str]) -> Iterator[Item]:
        call = call_around(self.before)
        initializer = self.known.registry.get(call.function) if call is not None else None
        if call is not None and initializer is not None:
            parameter = initializer.parameter(call.argument) if call.argument else None
            if parameter is None and call.argument is None and call.position < len(initializer.parameters):
                parameter = initializer.parameters[call.position]
            for word in parameter.choices if parameter is not None else ():
                assert parameter is not None
                yield Item(word, "enum", parameter.name)
            if call.argument is None:
                for one in initializer.parameters:
                    if one.name not in call.given:
                        detail = "required" if one.required else f"default {value_text(one.default)}"
                        yield Item(f"{one.name}=", "parameter", detail)
        for name, declaration in self.found.visible(self.number).items():
            yield Item(name, "variable", self.found.pieces.pieces[declaration.piece].text)
        if call is None or initializer is None:
            for name in self.known.registry:
                one_ = self.known.registry[name]
                yield Item(name, "function", one_.signature, one_.doc)
        for name in (*FUNCTIONS, *FANS, "len", "load"):
            yield Item(name, "function", "function")
        for name in FACT_NAMES:
            yield Item(name, "variable", "of the parameter")
        for name, what in VALUES.items():
            yield Item(name, "value", what)


STATEMENTS = {
    "tie": "the same tensor under several names", "copy": "values of the first into the others",
    "keep": "leave as it is", "default": "PyTorch's own initialization", "let": "a name for a formula",
    "expect": "what is to hold once all is filled", "use": "another file's statements", "in": "inside of", "not": "the opposite", "as": "through another shape",
    "and": "both", "or": "either",
}  # fmt: skip


def _path_before(before: str) -> str:
    """The path that ends where a text ends; `""` for none."""
    at = len(before)
    while at > 0:
        character = before[at - 1]
        if character in ")]":
            depth, back = 0, at
            while back > 0:
                back -= 1
                depth += (before[back] in ")]") - (before[back] in "([")
                if depth == 0:
                    break
            if depth:
                break
            at = back
        elif character.isalnum() or character in "_*.+":
            at -= 1
        else:
            break
    return before[at:]


@dataclass(frozen=True, slots=True)
class CallAround:
    """The call a place lies in: its function, the argument being typed by name or by position, those given by name."""

    function: str
    argument: str | None
    position: int
    given: frozenset[str]


def _openers(before: str) -> list[tuple[int, str | None, int]]:
    """The brackets open at the end: where, the function called, and the number of its first token."""
    colours = coloured(before)
    found: list[tuple[int, str | None, int]] = []
    for number, colour in enumerate(colours):
        if colour.kind != "punctuation":
            continue
        for at in range(colour.start, colour.end):
            if before[at] in "([{":
                last = colours[number - 1] if number else None
                called = last is not None and last.kind == "function" and last.end == at
                found.append((at, before[last.start : last.end] if called and last else None, number + 1))
            elif before[at] in ")]}" and found:
                found.pop()
    return found


def call_around(before: str) -> CallAround | None:
    """The innermost call whose parenthesis is open at the end of a statement's beginning."""
    openers = _openers(before)
    if not openers or openers[-1][1] is None:
        return None
    _, function, first = openers[-1]
    depth, position, argument, given = 0, 0, None, set()
    colours: tuple[Colour, ...] = coloured(before)
    for colour in colours[first:]:
        shown = before[colour.start : colour.end]
        if colour.kind == "punctuation":
            depth += sum(c in "([{" for c in shown) - sum(c in ")]}" for c in shown)
            if depth == 0 and "," in shown:
                position, argument = position + 1, None
        elif colour.kind == "parameter" and depth == 0:
            argument = shown
            given.add(shown)
    assert function is not None
    return CallAround(function, argument, position, frozenset(given))
