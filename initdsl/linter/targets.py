"""What a selector selects, as far as text can tell: normal forms, and which of them surely covers which.

Everything here errs on one side: `covers` is true only if no model could make it false.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from initdsl.language.syntax.nodes import (
    ClassPattern,
    Every,
    Index,
    Maybe,
    Name,
    Number,
    Path,
    Predicate,
    Regex,
    Selector,
    Slice,
    Step,
    String,
    Union_,
    Within,
)

__all__ = ["MATRICES", "UNTOLD", "Target", "covers", "is_piece", "renamed", "targets_of", "whole_parameter"]


# classes of torch whose `weight` is a matrix or a kernel
MATRICES = frozenset(
    [
        "Bilinear",
        "Conv1D",
        "Conv1d",
        "Conv2d",
        "Conv3d",
        "ConvTranspose1d",
        "ConvTranspose2d",
        "ConvTranspose3d",
        "Embedding",
        "EmbeddingBag",
        "Linear",
    ]
)


# lists within lists multiply: of more targets than this nothing is said
MOST_TARGETS = 512


@dataclass(frozen=True, slots=True)
class Target:
    """One way to be selected: of `(Linear, Conv2d).weight in net.head` one for either class.

    `within` are the selectors it stands in, each with whether that is negated: `(True, ...)` for `not in`.
    """

    base: Path | Regex
    within: frozenset[tuple[bool, frozenset[Target]]] = frozenset()

    @property
    def root(self) -> ClassPattern | str | None:
        """What a path begins with: a class, `net`, or nothing; `None` for a regular expression too."""
        return self.base.root if isinstance(self.base, Path) else None

    @property
    def steps(self) -> tuple[Step | Index, ...]:
        """The steps of a path behind its root; none of a regular expression."""
        return self.base.steps if isinstance(self.base, Path) else ()

    @property
    def name(self) -> str | None:
        """The parameter's name where the path ends in a plain one."""
        return None if self.glob is None or "*" in self.glob else self.glob

    @property
    def glob(self) -> str | None:
        """The parameter's name as the path has it, which may be a glob: `bias_*`."""
        return next((step.name for step in reversed(self.steps) if isinstance(step, Step)), None)

    @property
    def class_name(self) -> str | None:
        """The class pattern a path begins with, without its module: `Linear`, `*Norm*`; else `None`."""
        return self.root.name.rpartition(".")[2] if isinstance(self.root, ClassPattern) else None


# the targets of a block whose selector has no normal form: nothing is said of what stands in it either
UNTOLD: tuple[Target, ...] = ()


def targets_of(selector: Selector, outer: tuple[Target, ...] | None = None) -> tuple[Target, ...] | None:
    """Return the normal form of a selector inside blocks that select `outer`; `None` where there is none."""
    if outer == UNTOLD:
        return None
    match selector:
        case Maybe():
            return targets_of(selector.selector, outer)
        case Union_():
            members = [targets_of(member, outer) for member in selector.members]
            if any(targets is None for targets in members):
                return None
            union = tuple(target for targets in members for target in targets or ())
            return union if len(union) <= MOST_TARGETS else None
        case Within():
            inner, container = targets_of(selector.selector, outer), targets_of(selector.container, outer)
            if inner is None or container is None:
                return None
            clause = (selector.negated, frozenset(container))
            return tuple(replace(target, within=target.within | {clause}) for target in inner)
        case Path(root=None):
            # `.weight` goes on where the block's path ends
            if outer is None or not all(isinstance(target.base, Path) for target in outer):
                return None
            return tuple(_continued(target, selector) for target in outer)
        case Path() | Regex():
            clauses = frozenset({(False, frozenset(outer))}) if outer else frozenset()
            return (Target(selector, clauses),)
    raise AssertionError(selector)


def _continued(target: Target, path: Path) -> Target:
    """Return the target that a path without a root stands for inside a block of `target`."""
    assert isinstance(target.base, Path)
    return replace(target, base=replace(target.base, steps=(*target.steps, *path.steps), view=path.view))


def renamed(target: Target, name: str) -> Target:
    """Return the same target with its parameter called `name`."""
    if not isinstance(target.base, Path):
        return target
    last = max(i for i, step in enumerate(target.steps) if isinstance(step, Step))
    steps = (*target.steps[:last], Step(name), *target.steps[last + 1 :])
    return replace(target, base=replace(target.base, steps=steps))


def is_piece(base: Path | Regex) -> bool:
    """Tell whether a path ends in an index or a view: a slice of a parameter (or a child by number)."""
    return isinstance(base, Path) and (
        base.view is not None or (bool(base.steps) and isinstance(base.steps[-1], Index))
    )


def whole_parameter(target: Target) -> Target | None:
    """Return the parameter a piece is of, or `None` where the last index may choose a child instead of a slice."""
    base = target.base
    if not isinstance(base, Path) or not is_piece(base):
        return target
    steps = base.steps
    if steps and isinstance(steps[-1], Index):
        last = steps[-2] if len(steps) > 1 else None
        if not isinstance(last, Step) or not ("weight" in last.name or "bias" in last.name or len(steps[-1].items) > 1):
            return None
        steps = steps[:-1]
    return replace(target, base=replace(base, steps=steps, view=None))


def covers(later: Target, earlier: Target) -> bool:
    """Tell whether everything `earlier` selects in whatever model, `later` selects as well."""
    if later == earlier:
        return True
    if not later.within <= earlier.within:
        return False
    a, b = later.base, earlier.base
    if isinstance(a, Regex) or isinstance(b, Regex) or a.view is not None or b.view is not None or is_piece(a):
        return a == b
    if not b.steps or not a.steps or not isinstance(b.steps[-1], Step) or not _parameters_cover(a, b):
        return False
    bound = [i.name for s in a.steps if isinstance(s, Index) for i in s.items if isinstance(i, Name)]
    if bound and (len(set(bound)) != len(bound) or later.within):
        return a.root == b.root and a.steps == b.steps
    return _paths_cover(a, b)


def _paths_cover(a: Path, b: Path) -> bool:
    if isinstance(a.root, ClassPattern):
        if isinstance(b.root, ClassPattern):
            return class_covers(a.root, b.root) and _steps_cover(a.steps, b.steps)
        # `*.weight`: any module's, whatever its path
        any_class = a.root.name == "*" and not a.root.predicates
        return any_class and len(a.steps) == 1 and _step_covers(a.steps[0], b.steps[-1])
    if isinstance(b.root, ClassPattern) and a.root == "net" and _is_any_number(a.steps[0]):
        return _steps_cover(a.steps, b.steps)
    return a.root == b.root and _steps_cover(a.steps, b.steps)


def _parameters_cover(a: Path, b: Path) -> bool:
    """Tell whether what `b` selects is surely a parameter where `a` ends in a glob, which selects no buffer."""
    last, name = a.steps[-1], b.steps[-1]
    if not isinstance(last, Step) or not isinstance(name, Step):
        return False
    if "*" not in last.name or "*" in name.name:
        return True
    # the weight of a `FrozenBatchNorm2d` is a buffer
    maybe_frozen = not isinstance(b.root, ClassPattern) or "Frozen" in b.root.name or "*" in b.root.name
    return name.name in ("weight", "bias") and not maybe_frozen


def class_covers(a: ClassPattern, b: ClassPattern) -> bool:
    """Tell whether every module of class pattern `b` is one of `a`."""
    if not _predicates_cover(a.predicates, b.predicates):
        return False
    if a.name == "*":
        return True
    if a.name == b.name or ("." not in a.name and "*" not in b.name and b.name.rpartition(".")[2] == a.name):
        return a.subclasses or not b.subclasses
    if "*" in a.name and "*" not in b.name and "." not in a.name and not b.subclasses:
        return fnmatchcase(b.name.rpartition(".")[2], a.name)
    return False


def _predicates_cover(a: tuple[Predicate, ...], b: tuple[Predicate, ...]) -> bool:
    return all(predicate in b for predicate in a)


def _steps_cover(a: tuple[Step | Index, ...], b: tuple[Step | Index, ...]) -> bool:
    """Tell whether the pattern of steps `a` takes in every path the pattern `b` does."""
    reachable = {0}  # how much of `b` the steps of `a` so far may have taken
    for step in a:
        if _is_any_number(step):
            reachable = set(range(min(reachable), len(b) + 1))
            continue
        reachable = {i + 1 for i in reachable if i < len(b) and _step_covers(step, b[i])}
        if not reachable:
            return False
    return len(b) in reachable


def _is_any_number(step: Step | Index) -> bool:
    return isinstance(step, Step) and step.name == "**" and not step.predicates


def _step_covers(a: Step | Index, b: Step | Index) -> bool:
    if a == b:
        return True
    if not _predicates_cover(a.predicates, b.predicates) or (isinstance(b, Step) and b.name == "**"):
        return False
    if isinstance(a, Step):
        if a.name == "*":
            return isinstance(b, Step) or _is_one_child(b)
        if isinstance(b, Index) or "**" in a.name:
            return False
        if "*" not in a.name or "*" in b.name:
            return a.name == b.name
        return fnmatchcase(b.name, a.name)
    if not isinstance(b, Index) or len(a.items) != 1 or len(b.items) != 1:
        return False
    return isinstance(a.items[0], Every | Name) and isinstance(b.items[0], Number | String | Every | Slice | Name)


def _is_one_child(index: Index) -> bool:
    return len(index.items) == 1 and isinstance(index.items[0], Number | String | Every | Slice | Name)
