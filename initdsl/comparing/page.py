"""A diff as a page: the tree of the model with before and after, and the rule files as they were and are."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from initdsl.planning.plan import Plan, PlanEntry
from initdsl.reports.pages import page
from initdsl.reports.pages.plan import TREE
from initdsl.reports.pages.tree import Node, tree
from initdsl.text.wording import relative_location

from .diff import Change, Diff
from .facts import Made, Said, cores_of, made
from .rows import KINDS, cells_of, growth_lines, summary, tie_lines
from .rule_texts import RuleTexts

__all__ = ["Compared", "diff_page"]


# rows at the top of the page for the ties that change
MOST_TIES = 50


# the word of a tensor that nothing changes
SAME = "as before"


HEADS = '<div class="heads diff" aria-hidden="true"><span>parameter</span><span>shape</span><span>before</span><span>after</span><span>std</span></div>'


class Compared(NamedTuple):
    """A diff and the plans that it compares."""

    diff: Diff
    old: Plan
    new: Plan


def diff_page(compared: Mapping[str, Compared]) -> str:
    """Return diffs, by the names of their rule files, as one self-contained HTML page, which loads nothing."""
    contents = _Contents()
    trees = []
    texts: list[str] = []
    for number, (name, each) in enumerate(compared.items()):
        rules = RuleTexts(each.old, each.new, number)
        trees.append(contents.network(name if len(compared) > 1 else "net", each, rules))
        texts += rules.html()
    root = trees[0] if len(trees) == 1 else {"n": "", "c": "rule files", "k": trees}
    title = (
        f"Change: {relative_location(next(iter(compared)))}" if len(trees) == 1 else f"Change: {len(trees)} rule files"
    )
    body = [f"<header><h1>{escape(title)}</h1></header>", "<main>"]
    for name, each in compared.items():
        body += _summary(name if len(trees) > 1 else "", each.diff)
    before, _, after = TREE.partition('<div class="heads"')
    body += [before + HEADS + after.partition("</div>")[2], *texts, "</main>"]
    data = {"tree": root, "kinds": contents.kinds, "rules": contents.rules}
    return page(title, "\n".join(body), ("diff.js", "tree.js"), data)


def _summary(name: str, diff: Diff) -> Iterator[str]:
    """Yield what changes in all, and ties and growth: what the tree has no row for."""
    label = f"<code>{escape(name)}</code>: " if name else ""
    look = "warning" if diff else "fine"
    yield f'<p class="attention {look}">{label}{escape(summary(diff))}</p>'
    lines = [*tie_lines(diff)[:MOST_TIES], *growth_lines(diff)]
    renamed = [(c.before.name, c.after.name) for c in diff.renamed if c.before is not None and c.after is not None]
    items = [escape(line) for line in lines]
    items += [f"perhaps renamed: <code>{escape(a)}</code> to <code>{escape(b)}</code>" for a, b in renamed[:MOST_TIES]]
    if items:
        yield f'<ul class="attention">{"".join(f"<li>{item}</li>" for item in items)}</ul>'


class _Contents:
    """Trees row by row; what many parameters share stands once, in `kinds` and `rules`, and rows name its place."""

    def __init__(self) -> None:
        self.kinds: list[Sequence[object]] = []
        self.rules: list[tuple[str, str, str]] = []
        self._kind: dict[Hashable, int] = {}
        self._rule: dict[tuple[str, str, str], int] = {}

    def network(self, name: str, each: Compared, texts: RuleTexts) -> dict[str, object]:
        """Return the tree of the model after the change, with what is gone at its end."""
        diff, new = each.diff, each.new
        changes = {change.name: (kind, change) for kind, found in diff.groups.items() for change in found}
        stays: dict[str, tuple[str, Change]] = {}
        cores, said = cores_of(new), Said()

        def change_of(entry: PlanEntry) -> tuple[str, Change]:
            if entry.name in changes:
                return changes[entry.name]
            if entry.name not in stays:
                side = made(entry, cores[entry.name][1], said)
                stays[entry.name] = (SAME, Change(side, side))
            return stays[entry.name]

        def mark(entry: PlanEntry) -> Hashable:
            kind, change = changes.get(entry.name, (SAME, None))
            return kind, None if change is None or change.before is None else change.before.statements

        def node_of(node: Node) -> dict[str, object]:
            values: dict[str, object] = {"n": node.name, "c": node.cls}
            leaves: list[object] = []
            for leaf in node.leaves:
                members = [change_of(entry) for entry in leaf.entries]
                leaves.append([leaf.name, self._kind_of(members[0][0], [c for _, c in members], texts), len(members)])
            for key, below in (
                ("p", leaves),
                ("k", [node_of(n) for n in node.children]),
                ("f", [node_of(n) for n in node.members]),
            ):
                if below:
                    values[key] = below
            return values

        root = node_of(tree(new, mark=mark))
        root["n"] = name
        if diff.removed:
            gone: list[Any] = [[c.name, self._kind_of("removed", [c], texts), 1] for c in diff.removed]
            below = root.setdefault("k", [])
            assert isinstance(below, list)
            below.append({"n": " gone", "c": "before the change", "p": gone})
        return root

    def _kind_of(self, kind: str, members: list[Change], texts: RuleTexts) -> int:
        """Return the place in `kinds` of shape, word, before, after, ratio, and the rules of both sides."""
        shape, before, after, ratio, _ = cells_of(members)
        change = members[0]
        was = [] if change.before is None or kind == SAME else self._rules_of(change.before, texts, old=True)
        now = [] if change.after is None else self._rules_of(change.after, texts, old=False)
        values = [shape, KINDS.get(kind, kind), "" if kind == SAME else before, after, ratio, was, now]
        key = repr(values)
        if key not in self._kind:
            self._kind[key] = len(self.kinds)
            self.kinds.append(values)
        return self._kind[key]

    def _rules_of(self, side: Made, texts: RuleTexts, old: bool) -> list[int]:
        """Return the places in `rules` of the statements that make a tensor: text, location and anchor."""
        places = []
        for text, location in side.statements:
            rule = (text, relative_location(location), texts.anchor(location, old))
            if rule not in self._rule:
                self._rule[rule] = len(self.rules)
                self.rules.append(rule)
            places.append(self._rule[rule])
        return places
