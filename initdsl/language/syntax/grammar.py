"""The text of the grammar, `grammar/initdsl.lark`."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import resources
from pathlib import Path

__all__ = ["grammar_text", "keywords"]


@lru_cache(maxsize=1)
def grammar_text() -> str:
    """The grammar: the packaged file, or the one of a source checkout."""
    packaged = resources.files("initdsl") / "grammar" / "initdsl.lark"
    if packaged.is_file():
        return packaged.read_text("utf-8")
    return (Path(__file__).parents[3] / "grammar" / "initdsl.lark").read_text("utf-8")


@lru_cache(maxsize=1)
def keywords() -> tuple[str, ...]:
    """Every reserved word, read off the grammar."""
    return tuple(re.findall(r"^[A-Z]+: /([a-z]+)\(\?!\\w\)/$", grammar_text(), re.MULTILINE))
