"""The parser's tables, kept as JSON: making them from the grammar takes four times as long as reading them.

They are a copy, never the source: tables of another grammar or another lark are ignored, and the parser is made from
the grammar as if they were not there. `python -m initdsl.parse_tables` writes them anew.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import lark
from lark.grammar import Rule
from lark.lexer import TerminalDef

__all__ = ["PLACE", "read_tables", "tables_of"]

PLACE = Path(__file__).with_suffix(".json")

# given anew when the tables are read
OURS = ("postlex", "transformer")


def read_tables(grammar: str, place: Path = PLACE) -> dict[str, Any] | None:
    """What lark needs to be the parser of `grammar`; `None` where the stored tables are of another one."""
    try:
        stored = json.loads(place.read_bytes())
        if stored["made_for"] != _made_for(grammar):
            return None
        return {"data": _restored(stored["data"]), "memo": _restored(stored["memo"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def tables_of(parser: lark.Lark, grammar: str) -> str:
    """The tables of a parser that was made from `grammar`, as the text that is stored."""
    data, memo = parser.memo_serialize([TerminalDef, Rule])
    data["options"] = {key: value for key, value in data["options"].items() if key not in OURS}
    stored = {"made_for": _made_for(grammar), "data": data, "memo": memo}
    return json.dumps(stored, separators=(",", ":"), default=sorted) + "\n"


def _made_for(grammar: str) -> str:
    return f"lark {lark.__version__}, grammar {hashlib.sha256(grammar.encode()).hexdigest()}"


def _restored(value: Any) -> Any:
    """JSON knows only strings as keys; those of the tables are numbers."""
    if isinstance(value, dict):
        return {int(key) if key.isdigit() else key: _restored(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_restored(item) for item in value]
    return value


if __name__ == "__main__":
    from .syntax import built_parser, grammar_text

    PLACE.write_text(tables_of(built_parser(), grammar_text()), "utf-8")
