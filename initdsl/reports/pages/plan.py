"""The page of a plan, or of the report of what was done."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

from initdsl.planning.actions import Clause
from initdsl.planning.plan import Plan, PlanEntry
from initdsl.reports.measure import measures_of
from initdsl.reports.table import grouped, resolved, summary
from initdsl.statistics.moments import Measure
from initdsl.statistics.predicted import expected
from initdsl.text.wording import relative_location

from .shell import page
from .tree import Leaf, Node, further_names, tree

__all__ = ["plan_page", "report_page"]


# groups of parameters named at the top of the page; the tree has them all
MOST_NAMED = 50


def plan_page(plan: Plan, measures: Mapping[int, Measure] | None = None, engine: str | None = None) -> str:
    """A plan as one self-contained HTML page; with `measures` (by index of the tensor) as the report of what was done.

    The page loads nothing. Its size is bounded by some 60 bytes a parameter above the rule text and the names.
    """
    done = measures is not None
    lines = _Lines(plan)
    contents = _Contents(plan, lines)
    data = {"tree": contents.node(tree(plan, measures)), "kinds": contents.kinds, "rules": contents.rules, "done": done}
    title = f"{'Initialised' if done else 'Plan'}: {relative_location(next(iter(plan.rules.sources), 'rules'))}"
    made = engine or ("torch's global generator" if plan.seed is None else f"seed {plan.seed}")
    body = "\n".join(
        [
            f"<header><h1>{escape(title)}</h1><p>{escape(summary(plan))}. Drawn by {escape(made)}.</p></header>",
            "<main>",
            *_attention(plan, lines),
            TREE,
            *lines.html(),
            "</main>",
        ]
    )
    return page(title, body, "plan.js", data)


def report_page(plan: Plan, engine: str) -> str:
    """Return the page of what was done, with what the network's tensors hold now; `engine` says what drew."""
    return plan_page(plan, measures_of(plan), engine)


TREE = """<section aria-labelledby="h-tree"><h2 id="h-tree">Parameters</h2>
<div class="tools" role="search">
<input type="search" id="search" placeholder="Search names, classes, rules  ( / )" aria-label="Search parameters" autocomplete="off" spellcheck="false">
<fieldset id="filters"><legend class="hidden">Show only</legend></fieldset>
<button type="button" id="open">Open all</button><button type="button" id="shut">Fold all</button>
</div>
<p id="count" role="status" aria-live="polite"></p>
<div class="heads" aria-hidden="true"><span>parameter</span><span>shape</span><span>rule</span><span>expected</span><span>measured</span><span></span></div>
<div id="tree" role="treegrid" aria-label="Modules and their parameters"></div>
<noscript><p>The tree needs JavaScript; nothing is loaded or sent.</p></noscript>
<details class="help"><summary>Keys</summary><p><kbd>/</kbd> search, <kbd>Esc</kbd> clear, <kbd>↑</kbd> <kbd>↓</kbd> move,
<kbd>→</kbd> open, <kbd>←</kbd> fold, <kbd>Home</kbd> <kbd>End</kbd>, <kbd>Enter</kbd> go to the rule or open.
A row such as <code>[0..11] ×12</code> stands for layers that are alike; its last row opens each of them.</p></details>
</section>"""


class _Lines:
    """The rule texts, each line with an anchor."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.files = {name: number for number, name in enumerate(plan.rules.sources)}
        self.made: dict[tuple[str, int], set[int]] = {}
        for entry in plan.entries:
            for action in entry.actions:
                for line in self.of(action.clause):
                    self.made.setdefault((action.clause.rule.source, line), set()).add(entry.tensor.index)

    def of(self, clause: Clause) -> range:
        source, span = self.plan.rules.source(clause.rule.source), clause.rule.span
        return range(source.position(span.start).line, source.position(max(span.start, span.end - 1)).line + 1)

    def anchor(self, source: str, line: int) -> str:
        return f"f{self.files.get(source, 0)}-L{line}"

    def html(self) -> list[str]:
        shadowed = {(c.rule.source, n) for c in _shadowed(self.plan) for n in self.of(c)}
        parts = ['<section aria-labelledby="h-rules"><h2 id="h-rules">Rules</h2>']
        for name, text in self.plan.rules.sources.items():
            rows = []
            for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
                count = len(self.made.get((name, number), ()))
                dead = (name, number) in shadowed
                made = f"{count:,}" if count else "shadowed" if dead else ""
                told = f"{count:,} tensor{'s' * (count != 1)} made by this line" if count else made
                anchor = self.anchor(name, number)
                rows.append(
                    f'<tr id="{anchor}"{" class=shadowed" if dead else ""}><th scope="row"><a href="#{anchor}">{number}</a></th>'
                    f'<td class="made" title="{told}">{made}</td>'
                    f"<td><code>{escape(line.rstrip(chr(13))) or ' '}</code></td></tr>"
                )
            parts.append(
                f'<h3>{escape(relative_location(name))}</h3><div class="source"><table><caption class="hidden">'
                f"{escape(relative_location(name))}: line, tensors it makes, text</caption><tbody>{''.join(rows)}</tbody></table></div>"
            )
        return [*parts, "</section>"]


def _shadowed(plan: Plan) -> list[Clause]:
    """The rules that select tensors and make none: later rules have the last word on all of them."""
    return [c for c in plan.clauses if c.selected and not c.hits]


def _attention(plan: Plan, lines: _Lines) -> list[str]:
    """What to look at first: uncovered and partly set parameters, shadowed rules, rules that select nothing, notes."""
    parts: list[str] = []

    def section(cls: str, heading: str, items: list[str]) -> None:
        if items:
            left = len(items) - MOST_NAMED
            more = [f"<li>and {left:,} more, in the tree below</li>"] if left > 0 else []
            parts.append(
                f'<details open class="attention {cls}"><summary>{heading}</summary>'
                f"<ul>{''.join(items[:MOST_NAMED] + more)}</ul></details>"
            )

    for status, entries, what in (
        ("uncovered", plan.uncovered, "no rule reaches"),
        ("partial", plan.partial, "no rule sets all of"),
    ):
        count = len(entries)
        them = f"{count:,} parameter{'s' * (count != 1)}"
        groups = [f"<li><code>{escape(n)}</code>{_times(g)}</li>" for n, g in grouped(entries)]
        section(status, f"{status}: {what} {them}; {'it keeps' if count == 1 else 'they keep'} what is there", groups)
    shadowed = _shadowed(plan)
    count = len(shadowed)
    section(
        "shadowed",
        f"shadowed: {count} rule{'s' * (count != 1)} whose every parameter a later rule sets anew",
        [
            f'<li><a href="#{lines.anchor(c.rule.source, lines.of(c).start)}">{escape(relative_location(plan.clause_place(c)))}</a> '
            f"<code>{escape(plan.clause_text(c))}</code> selects {c.selected:,}</li>"
            for c in shadowed
        ],
    )
    for severity, findings in (("warning", plan.warnings), ("note", plan.notes)):
        items = []
        for finding in findings:
            hint = f"; {finding.hint}" if finding.hint else ""
            place = ""
            if finding.source is not None and finding.line is not None and finding.source.name in lines.files:
                place = f' <a href="#{lines.anchor(finding.source.name, finding.line)}">{escape(relative_location(finding.location or ""))}</a>'
            items.append(f"<li><b>{escape(finding.name)}</b> {escape(finding.message + hint)}{place}</li>")
        section(severity, f"{severity}s: {len(findings)}", items)
    if not parts:
        return ['<p class="attention fine">Every parameter is covered, and every rule has its say.</p>']
    return parts


def _times(members: list[PlanEntry]) -> str:
    return f" ×{len(members)}" if len(members) > 1 else ""


class _Contents:
    """The tree as compact JSON: what many parameters share stands once, in `kinds` and `rules`."""

    def __init__(self, plan: Plan, lines: _Lines):
        self.plan = plan
        self.lines = lines
        self.rules: list[list[str]] = []
        self.kinds: list[list[Any]] = []
        self.others = further_names(plan)
        self._rule: dict[int, int] = {}
        self._kind: dict[Any, int] = {}

    def node(self, node: Node) -> dict[str, Any]:
        """`n` name, `c` class, `p` parameters, `k` modules within, `f` the members of a fold, `x` tensors in all."""
        made: dict[str, Any] = {"n": node.name, "c": node.cls}
        if node.leaves:
            made["p"] = [self.leaf(leaf) for leaf in node.leaves]
        if node.children:
            made["k"] = [self.node(child) for child in node.children]
        if node.members:
            made["f"] = [self.node(member) for member in node.members]
        return made

    def leaf(self, leaf: Leaf) -> list[Any]:
        """Name, kind, tensors, expected, measured, histogram, further names; trailing nothings left out."""
        entry = leaf.entries[0]
        row: list[Any] = [
            leaf.name,
            self.kind(entry),
            len(leaf.entries),
            _promise(leaf.entries),
            _found(leaf.measure),
            _bars(leaf.measure),
            self.others.get(entry.tensor.index, []) if len(leaf.entries) == 1 else [],
        ]
        while row and row[-1] in (0, [], 1) and len(row) > 2:
            row.pop()
        return row

    def kind(self, entry: PlanEntry) -> int:
        """Shape, dtype, status, effect, rules, whether it is a buffer."""
        clauses = tuple(dict.fromkeys(a.clause.number for a in entry.actions))
        came_to = resolved(entry)
        key = (entry.shape, entry.dtype, entry.status, clauses, entry.tensor.kind, came_to)
        if key not in self._kind:
            self._kind[key] = len(self.kinds)
            rules = [self.rule(a.clause) for a in {a.clause.number: a for a in entry.actions}.values()]
            shape = "×".join(map(str, entry.shape)) or "scalar"
            self.kinds.append([shape, entry.dtype, entry.status, entry.effect, rules, entry.tensor.kind, came_to])
        return self._kind[key]

    def rule(self, clause: Clause) -> int:
        if clause.number not in self._rule:
            self._rule[clause.number] = len(self.rules)
            anchor = self.lines.anchor(clause.rule.source, self.lines.of(clause).start)
            self.rules.append(
                [self.plan.clause_text(clause), relative_location(self.plan.clause_place(clause)), anchor]
            )
        return self._rule[clause.number]


def _short(value: float) -> Any:
    """A number at four digits, as JSON can say it."""
    if not math.isfinite(value):
        return str(value)
    return float(f"{value:.4g}") or 0


def _promise(entries: list[PlanEntry]) -> Any:
    """Ranges of the expected mean, standard deviation and bounds of tensors that are alike."""
    found = [expected(entry) for entry in entries]
    known = [values for values in found if values is not None]
    if not known or len(known) < len(found):
        return 0
    mean, std, low, high = zip(*known, strict=True)
    return [_short(x) for x in (min(mean), max(mean), min(std), max(std), min(low), max(high))]


def _found(measure: Measure | None) -> Any:
    if measure is None:
        return 0
    values = (measure.mean, measure.stds[0], measure.stds[1], measure.low, measure.high)
    return [*map(_short, values), *([measure.other] if measure.other else [])]


def _bars(measure: Measure | None) -> Any:
    """The range of a histogram and its bars, the highest 61, one character each: `0` to `9`, `a` to `z`, `A` to `Z`."""
    if measure is None or not measure.histogram or not any(measure.histogram):
        return 0
    most = max(measure.histogram)
    digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    bars = "".join(digits[math.ceil(61 * n / most)] for n in measure.histogram)
    return [_short(measure.edges[0]), _short(measure.edges[1]), bars]
