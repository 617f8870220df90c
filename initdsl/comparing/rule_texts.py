"""The rule files of two plans on the page of their diff: lines that are gone, new and as before, each with an anchor."""

from __future__ import annotations

import os
from collections.abc import Iterator
from difflib import SequenceMatcher
from html import escape
from typing import NamedTuple

from initdsl.planning.plan import Plan
from initdsl.text.wording import relative_location

__all__ = ["RuleTexts"]


class _Pair(NamedTuple):
    """A file before and after: its names, either empty where there is none, and its lines."""

    old_name: str
    new_name: str
    old: list[str]
    new: list[str]


class RuleTexts:
    """The rule files of two plans: a file of one with the file of the other that it was, or became."""

    def __init__(self, old: Plan, new: Plan, number: int):
        self.number = number
        self.pairs = _paired(dict(old.rules.sources), dict(new.rules.sources))
        self._old = {pair.old_name: n for n, pair in enumerate(self.pairs) if pair.old_name}
        self._new = {pair.new_name: n for n, pair in enumerate(self.pairs) if pair.new_name}

    def anchor(self, location: str, old: bool) -> str:
        """Return the HTML id of the line that a location, `model.init:3`, names."""
        name, _, line = location.rpartition(":")
        return self._id((self._old if old else self._new).get(name, 0), line, old)

    def html(self) -> list[str]:
        """Return the section that shows the files; those that are the same stand folded."""
        parts = [f'<section aria-label="Rules"><h2>Rules{f" ({self.number + 1})" if self.number else ""}</h2>']
        for number, pair in enumerate(self.pairs):
            names = dict.fromkeys(relative_location(name) for name in (pair.old_name, pair.new_name) if name)
            heading = escape(" → ".join(names))
            rows = "".join(self._rows(number, pair))
            table = f'<div class="source"><table><caption class="hidden">{heading}: line before, line after, text</caption><tbody>{rows}</tbody></table></div>'
            if pair.old == pair.new:
                parts.append(f"<details><summary><code>{heading}</code>, as before</summary>{table}</details>")
            else:
                parts.append(f"<h3>{heading}</h3>{table}")
        return [*parts, "</section>"]

    def _rows(self, number: int, pair: _Pair) -> Iterator[str]:
        matcher = SequenceMatcher(None, pair.old, pair.new)
        for tag, a, b, c, d in matcher.get_opcodes():
            if tag == "equal":
                for old, new in zip(range(a, b), range(c, d), strict=True):
                    yield self._row(number, old, new, "", pair.new[new])
                continue
            for old in range(a, b):
                yield self._row(number, old, None, "gone", pair.old[old])
            for new in range(c, d):
                yield self._row(number, None, new, "new", pair.new[new])

    def _row(self, file: int, old: int | None, new: int | None, cls: str, text: str) -> str:
        cells = "".join(self._number(file, line, side) for line, side in ((old, True), (new, False)))
        sign = {"gone": "-", "new": "+"}.get(cls, "")
        return (
            f'<tr{f" class={cls}" if cls else ""}>{cells}<td class="made">{sign}</td>'
            f"<td><code>{escape(text.rstrip(chr(13))) or ' '}</code></td></tr>"
        )

    def _number(self, file: int, line: int | None, old: bool) -> str:
        if line is None:
            return "<th></th>"
        anchor = self._id(file, str(line + 1), old)
        return f'<th scope="row"><a id="{anchor}" href="#{anchor}">{line + 1}</a></th>'

    def _id(self, file: int, line: str, old: bool) -> str:
        return f"{'o' if old else 'n'}{self.number}-{file}-L{line}"


def _paired(old: dict[str, str], new: dict[str, str]) -> list[_Pair]:
    """Return the files of both sides, those with one name together; the first, which the plans are of, always so."""
    names = {_short(name): name for name in list(new)[1:]}
    first_old, first_new = next(iter(old), ""), next(iter(new), "")
    pairs = [(first_old, first_new)]
    pairs += [(name, names.pop(_short(name), "")) for name in list(old)[1:]]
    pairs += [("", name) for name in names.values()]
    return [_Pair(a, b, _lines(old.get(a)), _lines(new.get(b))) for a, b in pairs]


def _short(name: str) -> str:
    return os.path.normpath(relative_location(name))


def _lines(text: str | None) -> list[str]:
    return [] if not text else text.removesuffix("\n").split("\n")
