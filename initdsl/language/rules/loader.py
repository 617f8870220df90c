"""Rule sets: the statements of a text or a file, with every `use` followed; pydantic on the outside.

A RuleSet is a value: it can be compared, pickled, dumped as JSON and read back. Nothing here knows a network.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

from initdsl.language.syntax.nodes import Block, Rule, Use
from initdsl.language.syntax.parse import ParseCache, parse_source
from initdsl.language.syntax.state import DEFAULT_LIMITS, Limits
from initdsl.text.diagnostic import Diagnostic, ParseError, RuleError, in_order
from initdsl.text.source import Source, read_source
from initdsl.text.wording import nearest

from .ruleset import RuleSet

__all__ = ["Rules", "coerce", "followed", "inside_root", "load", "packaged_recipes", "parse", "read_rules"]


TEXT_NAME = "<rules>"


LONGEST_PATH = 4096


def parse(text: str, *, limits: Limits = DEFAULT_LIMITS) -> RuleSet:
    """The rule set of a text; `use` is recorded, not followed.

    Raises ParseError with every syntax error of the text.

    >>> len(parse("Linear.weight ~ normal(0, 0.01); Linear.bias = 0"))
    2
    """
    if not isinstance(text, str):
        raise TypeError(f"rules are text, not {type(text).__name__}")
    source = Source(TEXT_NAME, text.removeprefix("\ufeff"))
    rules, problems = parse_source(source, limits)
    if problems:
        raise ParseError(problems)
    return RuleSet(rules=tuple(rules), sources={source.name: source.text})


def load(
    path: str | os.PathLike[str], *, root: str | os.PathLike[str] | None = None, limits: Limits = DEFAULT_LIMITS
) -> RuleSet:
    """The rule set of a file, with every `use` followed.

    `use` and `load` may not leave `root`, by default the folder of the file.
    Raises ParseError (syntax, of any of the files) or RuleError (a file that can't be used).
    """
    rules, problems = read_rules(path, root=root, limits=limits)
    _raise(problems)
    return rules


def followed(rules: RuleSet, root: str | os.PathLike[str] | None = None, limits: Limits = DEFAULT_LIMITS) -> RuleSet:
    """A rule set parsed from text with its `use` statements followed, from `root` (the working directory)."""
    if not any(isinstance(rule, Use) and rule.rules is None for rule in rules.walk()):
        return rules if root is None else rules.model_copy(update={"root": os.fspath(root)})
    base = FilePath(os.fspath(root) if root is not None else rules.root or os.getcwd())
    loader = _Loader(base, limits)
    loader.sources.update({name: Source(name, text) for name, text in rules.sources.items()})
    statements = loader.follow(rules.rules, base, ())
    _raise(in_order(loader.problems))
    return RuleSet(rules=statements, sources={n: s.text for n, s in loader.sources.items()}, root=str(base))


def read_rules(
    path: str | os.PathLike[str], *, text: str | None = None, root: str | os.PathLike[str] | None = None,
    limits: Limits = DEFAULT_LIMITS, cache: ParseCache | None = None,
) -> tuple[RuleSet, list[Diagnostic]]:  # fmt: skip
    """The rules of a file as far as they can be read, and everything wrong with their syntax and their `use`.

    `text` stands for the file's contents where an editor has newer ones, and `cache` makes reading it again fast. Never raises on any file.
    """
    name = os.fspath(path)
    folder = FilePath(name).parent
    loader = _Loader(FilePath(os.fspath(root)) if root is not None else folder, limits)
    source = read_source(name, limits.file_bytes) if text is None else Source(name, text.removeprefix("\ufeff"))
    if isinstance(source, tuple):
        loader.problems.append(Diagnostic(*source))
        return RuleSet.model_construct(rules=()), loader.problems
    loader.outermost = 1
    statements = loader.statements(source, folder, (os.path.realpath(name),), cache)
    sources = {key: value.text for key, value in loader.sources.items()}
    # made by the parser, so there is nothing to validate
    return RuleSet.model_construct(rules=statements, sources=sources, root=str(loader.root)), in_order(loader.problems)


def _raise(problems: list[Diagnostic]) -> None:
    if problems:
        uses = {"unreadable-file", "outside-root", "circular-use", "too-many-uses", "unknown-recipe"}
        raise (RuleError if all(problem.name in uses for problem in problems) else ParseError)(problems)


class _Loader:
    """Follows `use`: reads each file once, never outside the root, never in a circle."""

    def __init__(self, root: FilePath, limits: Limits):
        self.root = root
        self.limits = limits
        self.sources: dict[str, Source] = {}
        self.problems: list[Diagnostic] = []
        self.parsed: dict[str, tuple[Rule, ...]] = {}
        self.count = 0
        self.total = 0  # statements, were every `use` written out
        self.weights: dict[str, int] = {}
        self.refused = False
        self.outermost = 0  # files at the head of a chain that no `use` led to

    def statements(
        self, source: Source, folder: FilePath, chain: tuple[str, ...], cache: ParseCache | None = None
    ) -> tuple[Rule, ...]:
        self.sources[source.name] = source
        rules, problems = parse_source(source, self.limits, cache)
        self.problems += problems
        return self.follow(tuple(rules), folder, chain)

    def follow(self, rules: tuple[Rule, ...], folder: FilePath, chain: tuple[str, ...]) -> tuple[Rule, ...]:
        done: list[Rule] = []
        for rule in rules:
            if isinstance(rule, Block):
                done.append(replace(rule, rules=self.follow(rule.rules, folder, chain)))
            elif isinstance(rule, Use) and rule.rules is None:
                done.append(replace(rule, rules=self.used(rule, folder, chain)))
            else:
                done.append(rule)
        return tuple(done)

    def report(self, rule: Use, name: str, message: str, hint: str | None = None) -> tuple[Rule, ...]:
        self.problems.append(Diagnostic(name, message, self.sources[rule.source], rule.path_span, hint))
        return ()

    def refuse(self, rule: Use, message: str) -> tuple[Rule, ...]:
        """Report that files use too much, once: what follows has the same cause."""
        if not self.refused:
            self.report(rule, "too-many-uses", message)
        self.refused = True
        return ()

    def used(self, rule: Use, folder: FilePath, chain: tuple[str, ...]) -> tuple[Rule, ...]:
        if self.refused:
            return ()
        if len(chain) - self.outermost >= self.limits.uses:
            return self.report(rule, "too-many-uses", f"files use each other more than {self.limits.uses} deep")
        self.count += 1
        if self.count > 64 * self.limits.uses:
            return self.refuse(rule, f"more than {64 * self.limits.uses} files are used")
        if rule.path.startswith("initdsl:"):
            return self.recipe(rule, chain)
        place = inside_root(rule.path, folder, self.root)
        if place is None:
            return self.report(
                rule, "outside-root", f"`{rule.path[:100]}` lies outside the root folder",
                "paths are relative to this file and stay inside the root; `root=` names another one",
            )  # fmt: skip
        if os.path.realpath(place) in chain:
            return self.report(rule, "circular-use", f"`{rule.path}` is used by itself")
        return self.read(rule, str(place), place.parent, (*chain, os.path.realpath(place)))

    def recipe(self, rule: Use, chain: tuple[str, ...]) -> tuple[Rule, ...]:
        recipes = packaged_recipes()
        name = rule.path.removeprefix("initdsl:")
        if name not in recipes:
            near = nearest(name, recipes)
            hint = f'did you mean `"initdsl:{near}"`?' if near else "`initdsl list recipes` shows what there is"
            return self.report(rule, "unknown-recipe", f"no recipe is named `{name}`", hint)
        if rule.path in chain:
            return self.report(rule, "circular-use", f"`{rule.path}` is used by itself")
        place = recipes[name]
        return self.read(rule, str(place), place.parent, (*chain, rule.path), shown=rule.path)

    def read(
        self, rule: Use, place: str, folder: FilePath, chain: tuple[str, ...], shown: str | None = None
    ) -> tuple[Rule, ...]:
        name = shown or place
        if name in self.sources and name in self.parsed:
            self.total += self.weights[name]
            if self.total > self.limits.statements:
                return self.refuse(
                    rule, f"written out, these files have more than {self.limits.statements:,} statements"
                )
            return self.parsed[name]
        source = read_source(place, self.limits.file_bytes)
        if isinstance(source, tuple):
            problem, message = source
            return self.report(rule, problem, message)
        before = self.total
        self.parsed[name] = self.statements(Source(name, source.text), folder, chain)
        self.total += len(self.parsed[name])
        self.weights[name] = self.total - before
        return self.parsed[name]


def inside_root(path: str, folder: FilePath, root: FilePath) -> FilePath | None:
    """`path` relative to `folder`, or `None` where it (or what its links lead to) lies outside `root`."""
    if (
        not path
        or len(path) > LONGEST_PATH
        or "\0" in path
        or "\\" in path
        or FilePath(path).is_absolute()
        or path.startswith("~")
        or path[1:2] == ":"
    ):
        return None
    place = folder / path
    real, base = os.path.realpath(place), os.path.realpath(root)
    if os.path.commonpath([real, base]) != base:
        return None
    return FilePath(os.path.normpath(place)) if not os.path.islink(place) else place


def packaged_recipes() -> Mapping[str, FilePath]:
    """The rule files of the package, by recipe name."""
    folder = FilePath(__file__).parents[2] / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.init"))}


def coerce(rules: Any, root: str | os.PathLike[str] | None = None) -> RuleSet:
    """What `apply` takes: a RuleSet, a Path, a string that ends in `.init`, or the text of rules."""
    if isinstance(rules, RuleSet):
        return followed(rules, root)
    if isinstance(rules, os.PathLike) or (isinstance(rules, str) and rules.endswith(".init") and "\n" not in rules):
        return load(rules, root=root)
    if isinstance(rules, str):
        return followed(parse(rules), root)
    raise TypeError(f"rules are text, a path or a RuleSet, not {type(rules).__name__}")


Rules = str | os.PathLike[str] | RuleSet
