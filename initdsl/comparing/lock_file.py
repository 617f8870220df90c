"""Locks as files: TOML that is sorted and has a line for each fact, so that changes are read and merged line by line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

from .lock import Lock

__all__ = ["LOCK_FORMAT", "LOCK_VERSION", "LockError", "read_lock", "written_lock"]


LOCK_FORMAT = "initdsl-lock"


LOCK_VERSION = 1


HEAD = "# What these rules start their model as: written by `initdsl lock`, compared by `initdsl lock --check`."


TABLES = ("rules", "settings", "libraries", "plan", "ties", "values")


PLAIN = re.compile(r"[A-Za-z0-9_-]+\Z")


class LockError(ValueError):
    """Why a file can't be read as a lock: `it is no TOML: Expected '=' after a key (at line 3, column 7)`."""


def written_lock(lock: Lock) -> str:
    """Return a lock as text."""
    lines = [HEAD, f'format = "{LOCK_FORMAT}"', f"version = {LOCK_VERSION}", f"network = {_text(lock.network)}"]
    if lock.manifest is not None:
        lines.append(f"manifest = {_text(lock.manifest)}")
    if lock.seed is not None:
        lines += [f"seed = {_text(str(lock.seed))}", f"stream = {_text(lock.stream)}"]
    for name in TABLES:
        table: Mapping[str, str] = getattr(lock, name)
        if table:
            lines += ["", f"[{name}]", *(f"{_key(key)} = {_text(table[key])}" for key in sorted(table))]
    return "\n".join(lines) + "\n"


def _key(text: str) -> str:
    return text if PLAIN.match(text) else _text(text)


def _text(text: str) -> str:
    """Return a text as TOML writes it, in one line."""

    def escaped(c: str) -> str:
        if c in '"\\':
            return f"\\{c}"
        return c if c.isprintable() and c < "\ud800" else f"\\U{ord(c):08X}"

    return f'"{"".join(map(escaped, text))}"'


def read_lock(data: bytes) -> Lock:
    """Return the lock that a file holds. Raises LockError where it is none, or of another version."""
    try:
        values = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        conflict = re.search(rb"^(<{7}|={7}|>{7})", data, re.MULTILINE)
        raise LockError("it has the marks of a merge conflict" if conflict else f"it is no TOML: {error}") from None
    if values.get("format") != LOCK_FORMAT:
        raise LockError("it does not say that it is a lock of initdsl")
    if values.get("version") != LOCK_VERSION:
        raise LockError(f"lock version {values.get('version')!r:.20} is not understood, only {LOCK_VERSION}")
    unknown = values.keys() - {"format", "version", "network", "manifest", "seed", "stream", *TABLES}
    if unknown:
        raise LockError(f"it has `{min(unknown)}`, which no lock has")
    tables: dict[str, Any] = {name: _table(values, name) for name in TABLES}
    return Lock(
        network=_word(values, "network") or "",
        manifest=_word(values, "manifest"),
        seed=_seed(_word(values, "seed")),
        stream=_word(values, "stream") or "v1",
        **tables,
    )


def _word(values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    if value is not None and not isinstance(value, str):
        raise LockError(f"`{name}` is no text")
    return value


def _seed(text: str | None) -> int | None:
    if text is not None and not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) < 2**64):
        raise LockError("`seed` is no whole number from 0 to 2**64 - 1")
    return None if text is None else int(text)


def _table(values: Mapping[str, Any], name: str) -> dict[str, str]:
    table = values.get(name, {})
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise LockError(f"`[{name}]` is no table of texts")
    return table
