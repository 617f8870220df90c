"""The frame of every page: one file with its style, its script and its data inside.

What comes from a model or a rule file is data: it stands in a JSON block that no tag can close, or is escaped, and the
page's content security policy runs this very script and no other, and lets nothing be loaded.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from pathlib import Path

__all__ = ["page"]


FOLDER = Path(__file__).parent


PLACE = re.compile(r"\{\{(\w+)\}\}")


@lru_cache(maxsize=8)
def _file(name: str) -> str:
    return (FOLDER / name).read_text("utf-8").strip()


def page(title: str, body: str, scripts: Sequence[str], data: object) -> str:
    """Return a whole HTML page: `body` is HTML, `scripts` are files of this folder, `data` the JSON they read."""
    style, code = _file("style.css"), "\n".join(map(_file, ("common.js", *scripts)))
    values = {
        "title": escape(title),
        "body": body,
        "style": style,
        "script": code,
        "data": _json(data),
        "style_hash": _hash(style),
        "script_hash": _hash(code),
    }
    return PLACE.sub(lambda match: values[match[1]], _file("shell.html")) + "\n"


def _hash(text: str) -> str:
    """Return what a content security policy calls a text: its SHA-256."""
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _json(data: object) -> str:
    """Return JSON that is safe inside a script element: neither a tag nor a comment can begin in it."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
