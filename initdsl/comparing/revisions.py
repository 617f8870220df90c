"""Rule files and manifests as git has them at a revision: read from its objects, nothing is checked out."""

from __future__ import annotations

import os
import posixpath
import subprocess
from dataclasses import dataclass

from initdsl.language.rules.loader import from_texts
from initdsl.language.rules.ruleset import RuleSet
from initdsl.language.syntax.nodes import Use
from initdsl.language.syntax.parse import parse_source
from initdsl.language.syntax.state import DEFAULT_LIMITS
from initdsl.language.syntax.walk import walk
from initdsl.text.source import Source

__all__ = ["Revision", "RevisionError", "read_at", "revision_of", "rules_at"]


# no program that a repository's settings name is run, and nothing is fetched
_SAFE = ("--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "protocol.allow=never")


class RevisionError(ValueError):
    """Why a file can't be read from a revision: `git has no revision named v9`."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A file at a revision: `Revision("main~3", "rules/net.init")`; the path is relative to the working folder."""

    name: str
    path: str

    def __str__(self) -> str:
        return f"{self.name}:{self.path}"


def revision_of(text: str) -> Revision | None:
    """Return the `REV:path` that a text is; None where it is a plain path, as any file of that very name is."""
    name, colon, path = text.partition(":")
    if not colon or not name or not path or os.path.exists(text) or (len(name) == 1 and path[0] in "\\/"):
        return None
    return Revision(name, path)


def read_at(revision: Revision, largest: int = DEFAULT_LIMITS.file_bytes) -> bytes:
    """Return what a file held at a revision. Raises RevisionError where git can't say, or it is too large."""
    inside = _path_in_repository(revision.path)
    # a revision that starts with a dash would be an option
    commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision.name}^{{commit}}")
    if commit is None:
        raise RevisionError(f"git has no revision named `{revision.name}`")
    named = f"{commit.decode().strip()}:{inside}"
    kind, size = _git("cat-file", "-t", named), _git("cat-file", "-s", named)
    if kind is None or size is None or kind.strip() != b"blob":
        raise RevisionError(f"there is no file `{revision.path}` at `{revision.name}`")
    if int(size) > largest:
        raise RevisionError(f"`{revision}` is larger than {largest:,} bytes")
    data = _git("cat-file", "blob", named)
    if data is None:
        raise RevisionError(f"git can't read `{revision}`")
    return data


def rules_at(revision: Revision) -> RuleSet:
    """Return the rules of a file at a revision, with what they `use` read from it too.

    Raises RevisionError, and ParseError or RuleError as `initdsl.load` does.
    """
    texts: dict[str, str] = {}
    waiting = [revision.path]
    while waiting:
        path = posixpath.normpath(waiting.pop().replace(os.sep, "/"))
        if path in texts:
            continue
        if len(texts) >= 64 * DEFAULT_LIMITS.uses:
            raise RevisionError(f"`{revision}` uses more than {len(texts)} files")
        at = Revision(revision.name, path)
        try:
            texts[path] = read_at(at).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise RevisionError(f"`{at}` is not UTF-8") from None
        rules, _ = parse_source(Source(path, texts[path]), DEFAULT_LIMITS)
        folder = posixpath.dirname(path)
        for rule in rules:
            for use in walk(rule):
                if isinstance(use, Use) and not use.path.startswith("initdsl:"):
                    waiting.append(posixpath.join(folder, use.path))
    return from_texts(texts, posixpath.dirname(revision.path) or ".")


def _path_in_repository(path: str) -> str:
    """Return a path as git names it, from the top of the repository. Raises RevisionError where it lies in none, or outside."""
    top = _git("rev-parse", "--show-toplevel")
    if top is None:
        raise RevisionError("the working folder is in no git repository, or there is no git")
    base = os.path.realpath(os.fsdecode(top.rstrip(b"\n")))
    inside = os.path.relpath(os.path.join(os.path.realpath(os.getcwd()), path), base)
    if os.path.isabs(path) or inside.split(os.sep)[0] == "..":
        raise RevisionError(f"`{path}` lies outside the repository")
    return inside.replace(os.sep, "/")


def _git(*words: str) -> bytes | None:
    """Return what a command of git writes; None where it fails or there is none."""
    environment = {**os.environ, "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(["git", *_SAFE, *words], capture_output=True, check=False, env=environment)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None
