"""Numbers and strings as a rule file writes them."""

from __future__ import annotations

import re
from typing import Any

from lark import Token

from initdsl.text.source import Span

from .nodes import ListNode, TupleNode
from .state import reading

__all__ = ["FLOAT", "INTEGER", "LARGEST_INT", "elements", "unescape"]


INTEGER = re.compile(r"(?:0|[1-9](?:_?[0-9])*)\Z")


FLOAT = re.compile(r"(?:[0-9](?:_?[0-9])*)?(?:\.(?:[0-9](?:_?[0-9])*)?)?(?:[eE][+-]?[0-9]+)?\Z")


ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)


LARGEST_INT = 2**63 - 1


def elements(literal: Any, limit: int) -> int:
    count, stack = 0, [literal]
    while stack and count <= limit:
        for item in stack.pop().items:
            if isinstance(item, ListNode | TupleNode):
                stack.append(item)
            else:
                count += 1
    return count


def unescape(token: Token) -> str:
    start = token.start_pos or 0

    def character(match: re.Match[str]) -> str:
        escape = match[1]
        if escape[0] == "u" and len(escape) == 5 and not 0xD800 <= int(escape[1:], 16) < 0xE000:
            return chr(int(escape[1:], 16))
        if escape in '"\\nt':
            return {"n": "\n", "t": "\t"}.get(escape, escape)
        reading.state.report(
            "bad-escape",
            f"`\\{escape}` is not an escape",
            Span(start + 1 + match.start(), start + 1 + match.end()),
            'escapes are `\\"`, `\\\\`, `\\n`, `\\t` and `\\uXXXX`',
        )
        return escape

    return ESCAPE.sub(character, token[1:-1])
