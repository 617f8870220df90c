"""The parser's tables, kept as JSON: making them from the grammar takes four times as long as reading them.

They are a copy, never the source: tables of another grammar or another lark are ignored, and the parser is made from
the grammar as if they were not there. `docs/generate.py` writes them.
"""

from __future__ import annotations

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
        table = stored["data"]["parser"]["parser"]
        table["tokens"] = _numbered(table["tokens"])
        table["states"] = {int(state): _numbered(actions) for state, actions in table["states"].items()}
        return {"data": stored["data"], "memo": _numbered(stored["memo"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def tables_of(parser: lark.Lark, grammar: str) -> str:
    """The tables of a parser that was made from `grammar`, as the text that is stored."""
    data, memo = parser.memo_serialize([TerminalDef, Rule])
    data["options"] = {key: value for key, value in data["options"].items() if key not in OURS}
    stored = {"made_for": _made_for(grammar), "data": data, "memo": memo}
    return json.dumps(stored, separators=(",", ":"), default=sorted) + "\n"


def _made_for(grammar: str) -> list[str]:
    return [lark.__version__, grammar]


def _numbered(table: dict[str, Any]) -> dict[int, Any]:
    """JSON knows only strings as keys; those of the tables are numbers."""
    return {int(key): value for key, value in table.items()}
