"""The tree-sitter grammar of editors/tree-sitter: compiled, and its trees turned into our nodes."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from itertools import accumulate
from pathlib import Path
from typing import Any

from lark import Token

from initdsl.language.syntax.builder import builder
from initdsl.language.syntax.building.children import Statements
from initdsl.language.syntax.parser import tokenize
from initdsl.language.syntax.state import DEFAULT_LIMITS, ParseState, reading
from tests.support.code import ROOT
from tests.support.processes import LONGEST

FOLDER = ROOT / "editors" / "tree-sitter"
# nodes that stand for one token: the first have a rule of the lark grammar, the others are the tokens themselves
LEAVES = {"number", "string", "regex", "constant", "name", "every", "ellipsis", "subclasses"}
TOKENS = {"class", "segment", "identifier", "measure", "state"}


def compiler() -> str | None:
    """Return the C compiler, if there is one."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def compiled(library: Path) -> None:
    """Compile the grammar as editors do: a shared library of what lies in `src`."""
    program = compiler()
    assert program is not None
    sources = [FOLDER / "src" / name for name in ("parser.c", "scanner.c")]
    words = ["-shared", "-fPIC", "-std=c11", "-O1", "-Wall", "-Wextra", "-I", FOLDER / "src"]
    subprocess.run([program, *words, *sources, "-o", library], check=True, timeout=LONGEST)


def loaded(library: Path) -> Any:
    """Return the language in a library, for the `tree_sitter` package."""
    import tree_sitter

    function = ctypes.CDLL(str(library)).tree_sitter_initdsl
    function.restype = ctypes.c_void_p
    capsule = ctypes.pythonapi.PyCapsule_New
    capsule.restype, capsule.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return tree_sitter.Language(capsule(function(), b"tree_sitter.Language", None))


def statements(tree: Any, text: str) -> list[Any]:
    """Return the statements of a tree without mistakes, made by the functions that make those of the parser's.

    Raises KeyError where a leaf of the tree is not one token of the parser.
    """
    reading.state = ParseState(DEFAULT_LIMITS, text)
    # from bytes to characters
    sizes = accumulate((len(character.encode()) for character in text), initial=0)
    at = {byte: number for number, byte in enumerate(sizes)}
    tokens = {(token.start_pos, token.end_pos): token for token in tokenize(text)}
    return list(_Trees(at, tokens).made(tree.root_node))


class _Trees:
    """Nodes of a tree by the functions of `language/syntax/building` that have their names."""

    def __init__(self, at: dict[int, int], tokens: dict[tuple[int | None, int | None], Token]) -> None:
        self.at, self.tokens, self.rules = at, tokens, builder()

    def made(self, node: Any) -> Any:
        kind = node.type
        if kind in LEAVES:
            return getattr(self.rules, kind)([self.token(node)])
        if kind in TOKENS or not node.is_named:
            return self.token(node)
        # the strings that name a file or a key are no expressions
        bare = [node.child_by_field_name(name) for name in ("path", "key") if kind in ("use", "pair")]
        inner = (child for child in node.children if child.type != "comment")
        children = [self.token(child) if child in bare else self.made(child) for child in inner]
        if kind == "start":
            return [child for child in children if not isinstance(child, Token)]
        if kind == "block":
            inside = [child for child in children[2:-1] if not isinstance(child, Token)]
            children = [*children[:2], Statements(inside), children[-1]]
        elif kind in ("index", "subscript"):
            first = 1 if kind == "index" else 2
            children = [*children[:first], self.rules.items(children[first:-1]), children[-1]]
        elif kind == "expect":
            kind = self.expectation(node)
        return getattr(self.rules, kind)(children)

    def token(self, node: Any) -> Token:
        return self.tokens[self.at[node.start_byte], self.at[node.end_byte]]

    @staticmethod
    def expectation(node: Any) -> str:
        """Return which of the lark grammar's four forms of `expect` it is."""
        if node.child_by_field_name("targets") is None:
            return "expect_tied"
        if node.child_by_field_name("state") is not None:
            return "expect_state"
        return "expect_between" if node.child_by_field_name("operator").type == "in" else "expect_compared"
