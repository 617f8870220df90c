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

__all__ = ["Revision", "RevisionError", "check_revision", "files_at", "read_at", "revision_of", "rules_at"]


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


def check_revision(name: str) -> None:
    """Raise RevisionError where a name is no revision of the repository around the working folder."""
    _commit(name, _top())


def files_at(name: str, suffix: str) -> list[str]:
    """Return the files of the working folder and below, as a revision has them, that end in a suffix; links aside.

    Raises RevisionError where git can't say.
    """
    here = os.path.realpath(os.getcwd())
    top, folder = _top(), _inside(".")
    only = [] if folder == "." else ["--", f"{folder}/"]
    listing = _git(top, "ls-tree", "-r", "-z", "--full-tree", _commit(name, top), *only)
    if listing is None:
        raise RevisionError(f"git can't list the files of `{name}`")
    found = []
    for line in listing.split(b"\0"):
        about, _, path = line.partition(b"\t")
        if about.startswith(b"100") and path.endswith(suffix.encode()):
            found.append(os.path.normpath(os.path.relpath(os.path.join(top, os.fsdecode(path)), here)))
    return sorted(found)


def read_at(revision: Revision, largest: int = DEFAULT_LIMITS.file_bytes) -> bytes:
    """Return what a file held at a revision, that of a submodule at the commit that the revision names for it.

    Raises RevisionError where git can't say, or the file is too large.
    """
    top = _top()
    folder, commit, inside = _where(top, _commit(revision.name, top), _inside(revision.path), revision)
    named = f"{commit}:{inside}"
    kind, size = _git(folder, "cat-file", "-t", named), _git(folder, "cat-file", "-s", named)
    if kind is None or size is None or kind.strip() != b"blob":
        raise RevisionError(f"there is no file `{revision.path}` at `{revision.name}`")
    if int(size) > largest:
        raise RevisionError(f"`{revision}` is larger than {largest:,} bytes")
    data = _git(folder, "cat-file", "blob", named)
    if data is None:
        raise RevisionError(f"git can't read `{revision}`")
    return data


def _where(folder: str, commit: str, inside: str, revision: Revision) -> tuple[str, str, str]:
    """Return the repository that has a file, the commit and the path in it: those of a submodule, where it lies in one."""
    parts = inside.split("/")
    for count in range(1, len(parts)):
        above = "/".join(parts[:count])
        entry = _git(folder, "ls-tree", "-z", "--full-tree", commit, "--", above)
        if entry and entry.startswith(b"160000 commit "):
            below = os.path.join(folder, above)
            held = entry.split()[2].decode()
            top = _git(below, "rev-parse", "--show-toplevel") if os.path.isdir(below) else None
            is_there = top is not None and os.path.realpath(os.fsdecode(top.rstrip(b"\n"))) == os.path.realpath(below)
            if not is_there or _git(below, "cat-file", "-e", f"{held}^{{commit}}") is None:
                raise RevisionError(
                    f"`{revision}` lies in the submodule `{above}`, which does not have the commit {held[:12]}: "
                    "`git submodule update --init` fetches it"
                )
            return _where(below, held, "/".join(parts[count:]), revision)
        if not entry:
            break
    return folder, commit, inside


def rules_at(revision: Revision, root: str | None = None) -> RuleSet:
    """Return the rules of a file at a revision, with what they `use`, which may not leave `root`, read from it too.

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
    return from_texts(texts, root or posixpath.dirname(revision.path) or ".")


def _inside(path: str) -> str:
    """Return a path as git names it, from the top of the repository. Raises RevisionError where it lies in none, or outside."""
    base = _top()
    inside = os.path.relpath(os.path.join(os.path.realpath(os.getcwd()), path), base)
    if os.path.isabs(path) or inside.split(os.sep)[0] == "..":
        raise RevisionError(f"`{path}` lies outside the repository")
    return inside.replace(os.sep, "/")


def _top() -> str:
    """Return the folder of the repository around the working folder, links followed. Raises RevisionError where there is none."""
    top = _git(os.getcwd(), "rev-parse", "--show-toplevel")
    if top is None:
        there_is_git = _git(os.getcwd(), "--version") is not None
        what = "the working folder is in no git repository" if there_is_git else "there is no `git` to be run"
        raise RevisionError(f"{what}: a revision can't be read")
    return os.path.realpath(os.fsdecode(top.rstrip(b"\n")))


def _commit(name: str, folder: str) -> str:
    # a revision that starts with a dash would be an option
    commit = _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    if commit is None:
        raise RevisionError(f"git has no revision named `{name}`")
    return commit.decode().strip()


def _git(folder: str, *words: str) -> bytes | None:
    """Return what a command of git writes in a folder; None where it fails or there is none."""
    environment = {**os.environ, "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(["git", *_SAFE, *words], cwd=folder, capture_output=True, check=False, env=environment)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None
