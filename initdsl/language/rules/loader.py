"""Rule sets: the statements of a text or a file, with every `use` followed; pydantic on the outside.

A RuleSet is a value: it can be compared, pickled, dumped as JSON and read back. Nothing here knows a model.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath

from initdsl.language.syntax.nodes import Block, Rule, Use
from initdsl.language.syntax.parse import ParseCache, parse_source
from initdsl.language.syntax.state import DEFAULT_LIMITS, Limits
from initdsl.text.diagnostic import Diagnostic, ParseError, RuleError, in_order
from initdsl.text.places import lies_in
from initdsl.text.source import Source, read_source
from initdsl.text.wording import nearest

from .ruleset import RuleSet

__all__ = ["Rules", "coerce", "followed", "inside_root", "load", "packaged_recipes", "parse", "read_rules"]


TEXT_NAME = "<rules>"


LONGEST_PATH = 4096


SUFFIX = ".init"


def parse(text: str, *, limits: Limits = DEFAULT_LIMITS) -> RuleSet:
    """Return the rule set of a text; `use` is recorded, not followed.

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
    """Return the rule set of a file, with every `use` followed.

    `use` and `load` may not leave `root`, by default the folder of the file.
    Raises ParseError (syntax, of any of the files) or RuleError (a file that can't be used).
    """
    rules, problems = read_rules(path, root=root, limits=limits)
    _raise(problems)
    return rules


def followed(rules: RuleSet, root: str | os.PathLike[str] | None = None, limits: Limits = DEFAULT_LIMITS) -> RuleSet:
    """Return a rule set parsed from text with its `use` statements followed, from `root` (the working directory)."""
    if not any(isinstance(rule, Use) and rule.rules is None for rule in rules.walk()):
        return rules if root is None else rules.model_copy(update={"root": os.fspath(root)})
    base = FilePath(os.fspath(root) if root is not None else rules.root or os.getcwd())
    loading = _Loading(base, limits, {name: Source(name, text) for name, text in rules.sources.items()})
    statements = _follow(rules.rules, _Place(base), loading)
    _raise(in_order(loading.problems))
    return RuleSet(rules=statements, sources=_texts(loading), root=str(base))


def read_rules(
    path: str | os.PathLike[str],
    *,
    text: str | None = None,
    root: str | os.PathLike[str] | None = None,
    limits: Limits = DEFAULT_LIMITS,
    cache: ParseCache | None = None,
) -> tuple[RuleSet, list[Diagnostic]]:
    """Return the rules of a file as far as they can be read, and everything wrong with their syntax and their `use`.

    `text` stands for the file's contents where an editor has newer ones, and `cache` makes reading it again fast.
    Never raises on any file.
    """
    name = os.fspath(path)
    folder = FilePath(name).parent
    loading = _Loading(FilePath(os.fspath(root)) if root is not None else folder, limits)
    source = read_source(name, limits.file_bytes) if text is None else Source(name, text.removeprefix("\ufeff"))
    if isinstance(source, tuple):
        return RuleSet.model_construct(rules=()), [Diagnostic(*source)]
    statements = _statements(source, _Place(folder, (os.path.realpath(name),)), loading, cache)
    # made by the parser, so there is nothing to validate
    rules = RuleSet.model_construct(rules=statements, sources=_texts(loading), root=str(loading.root))
    return rules, in_order(loading.problems)


def from_texts(texts: Mapping[str, str], root: str | None, limits: Limits = DEFAULT_LIMITS) -> RuleSet:
    """Return the rule set of the first of some texts, given by the names of their files; the others are those it uses.

    No file that is among them is read. Raises ParseError or RuleError.
    """
    name, text = next(iter(texts.items()))
    folder = FilePath(root or os.getcwd()) if name.startswith("<") else FilePath(name).parent
    loading = _Loading(FilePath(root) if root is not None else folder, limits, texts=texts)
    statements = _statements(Source(name, text), _Place(folder, (os.path.realpath(name),)), loading)
    _raise(in_order(loading.problems))
    return RuleSet(rules=statements, sources=_texts(loading), root=root)


def _raise(problems: list[Diagnostic]) -> None:
    if problems:
        uses = {"unreadable-file", "outside-root", "circular-use", "too-many-uses", "unknown-recipe"}
        raise (RuleError if all(problem.name in uses for problem in problems) else ParseError)(problems)


# ---- following `use`: each file is read once, never outside the root, never in a circle


@dataclass(frozen=True)
class _Place:
    """Where statements stand: the folder their paths begin at, and the files that led here, outermost first.

    `uses` counts the `use` statements among what led here: a file that was loaded by its path is led to by none.
    """

    folder: FilePath
    chain: tuple[str, ...] = ()
    uses: int = 0

    def used(self, file: str, folder: FilePath) -> _Place:
        """Return the place of a file in `folder` that is used here."""
        return _Place(folder, (*self.chain, file), self.uses + 1)


@dataclass
class _Loading:
    """What is read so far: sources by name, the statements of used files, and what is wrong.

    `weights` says of a used file how many statements it has with every `use` written out, `total` how many that are
    together; `count` is the number of `use` statements followed. Once too much is used, `refused` is set. `texts` stand
    for the contents of files, by name.
    """

    root: FilePath
    limits: Limits
    sources: dict[str, Source] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    problems: list[Diagnostic] = field(default_factory=list)
    parsed: dict[str, tuple[Rule, ...]] = field(default_factory=dict)
    weights: dict[str, int] = field(default_factory=dict)
    count: int = 0
    total: int = 0
    refused: bool = False

    def report(self, use: Use, name: str, message: str, hint: str | None = None) -> tuple[Rule, ...]:
        """Add what is wrong with a `use`, and return the statements it stands for: none."""
        self.problems.append(Diagnostic(name, message, self.sources[use.source], use.path_span, hint))
        return ()

    def refuse(self, use: Use, message: str) -> tuple[Rule, ...]:
        """Report that files use too much, once: what follows has the same cause."""
        if not self.refused:
            self.report(use, "too-many-uses", message)
        self.refused = True
        return ()


def _texts(loading: _Loading) -> dict[str, str]:
    return {name: source.text for name, source in loading.sources.items()}


def _statements(source: Source, place: _Place, loading: _Loading, cache: ParseCache | None = None) -> tuple[Rule, ...]:
    """Return the statements of a source with its `use` statements followed."""
    loading.sources[source.name] = source
    rules, problems = parse_source(source, loading.limits, cache)
    loading.problems += problems
    return _follow(tuple(rules), place, loading)


def _follow(rules: tuple[Rule, ...], place: _Place, loading: _Loading) -> tuple[Rule, ...]:
    """Return statements with the `use` among them, and inside their blocks, followed."""
    return tuple([_with_uses(rule, place, loading) for rule in rules])


def _with_uses(rule: Rule, place: _Place, loading: _Loading) -> Rule:
    if isinstance(rule, Block):
        return replace(rule, rules=_follow(rule.rules, place, loading))
    if isinstance(rule, Use) and rule.rules is None:
        return replace(rule, rules=_used(rule, place, loading))
    return rule


def _used(use: Use, place: _Place, loading: _Loading) -> tuple[Rule, ...]:
    """Return the statements that a `use` stands for."""
    limits = loading.limits
    if loading.refused:
        return ()
    if place.uses >= limits.uses:
        return loading.report(use, "too-many-uses", f"files use each other more than {limits.uses} deep")
    loading.count += 1
    if loading.count > 64 * limits.uses:
        return loading.refuse(use, f"more than {64 * limits.uses} files are used")
    if use.path.startswith("initdsl:"):
        return _recipe(use, place, loading)
    path = inside_root(use.path, place.folder, loading.root)
    if path is None:
        hint = "paths are relative to this file and stay inside the root; `root=` names another one"
        return loading.report(use, "outside-root", f"`{use.path[:100]}` lies outside the root folder", hint)
    real = os.path.realpath(path)
    if real in place.chain:
        return loading.report(use, "circular-use", f"`{use.path}` is used by itself")
    if not real.endswith(SUFFIX) and os.path.isfile(real):
        message = f"`{use.path}` is no rule file: the name of one ends in `{SUFFIX}`, its links followed"
        return loading.report(use, "unreadable-file", message)
    return _read(use, str(path), str(path), place.used(real, path.parent), loading)


def _recipe(use: Use, place: _Place, loading: _Loading) -> tuple[Rule, ...]:
    """Return the statements of a packaged recipe."""
    recipes = packaged_recipes()
    name = use.path.removeprefix("initdsl:")
    if name not in recipes:
        near = nearest(name, recipes)
        hint = f'did you mean `"initdsl:{near}"`?' if near else "`initdsl list recipes` shows what there is"
        return loading.report(use, "unknown-recipe", f"no recipe is named `{name}`", hint)
    if use.path in place.chain:
        return loading.report(use, "circular-use", f"`{use.path}` is used by itself")
    path = recipes[name]
    return _read(use, str(path), use.path, place.used(use.path, path.parent), loading)


def _read(use: Use, path: str, name: str, place: _Place, loading: _Loading) -> tuple[Rule, ...]:
    """Return the statements of the file at `path`, which goes by a `name`; they stand at `place`."""
    if name in loading.sources and name in loading.parsed:
        loading.total += loading.weights[name]
        if loading.total > loading.limits.statements:
            most = loading.limits.statements
            return loading.refuse(use, f"written out, these files have more than {most:,} statements")
        return loading.parsed[name]
    given = loading.texts.get(name)
    source = read_source(path, loading.limits.file_bytes) if given is None else Source(name, given)
    if isinstance(source, tuple):
        problem, message = source
        return loading.report(use, problem, message)
    outside = loading.total
    loading.parsed[name] = _statements(Source(name, source.text), place, loading)
    loading.total += len(loading.parsed[name])
    loading.weights[name] = loading.total - outside
    return loading.parsed[name]


def inside_root(path: str, folder: FilePath, root: FilePath) -> FilePath | None:
    """Return `path` relative to `folder`, or `None` where it (or what its links lead to) lies outside `root`.

    What is returned is what was looked at: `link/../x.init`, where that is another file than `x.init`, comes without the link.
    """
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
    if not lies_in(real, base):
        return None
    plain = os.path.normpath(place)
    return FilePath(plain) if os.path.realpath(plain) == real else root / os.path.relpath(real, base)


def packaged_recipes() -> Mapping[str, FilePath]:
    """Return the rule files of the package, by recipe name."""
    folder = FilePath(__file__).parents[2] / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.init"))}


def coerce(rules: object, root: str | os.PathLike[str] | None = None) -> RuleSet:
    """Return the rule set of what `apply` takes: a RuleSet, a Path, a string that ends in `.init`, or the text of rules."""
    if isinstance(rules, RuleSet):
        return followed(rules, root)
    if isinstance(rules, os.PathLike) or (isinstance(rules, str) and rules.endswith(".init") and "\n" not in rules):
        return load(rules, root=root)
    if isinstance(rules, str):
        return followed(parse(rules), root)
    raise TypeError(f"rules are text, a path or a RuleSet, not {type(rules).__name__}")


Rules = str | os.PathLike[str] | RuleSet
