"""The page of a plan, or of the report of what was done."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from initdsl.planning.plan import Plan, PlanEntry
from initdsl.reports.table import grouped, summary
from initdsl.statistics.measures import Measure
from initdsl.text.diagnostic import Diagnostic
from initdsl.text.wording import relative_location

from .contents import Contents
from .rule_texts import RuleTexts
from .shell import page
from .tree import tree

__all__ = ["plan_page"]


# groups of parameters named at the top of the page; the tree has them all
MOST_NAMED = 50


def plan_page(plan: Plan, measures: Mapping[int, Measure] | None = None, engine: str | None = None) -> str:
    """Return a plan as one self-contained HTML page; with `measures` (by index of the tensor) as the report of what was done.

    The page loads nothing. Its size is bounded by some 60 bytes a parameter above the rule text and the names.
    """
    done = measures is not None
    texts = RuleTexts(plan)
    contents = Contents(plan, texts)
    data = {"tree": contents.node(tree(plan, measures)), "kinds": contents.kinds, "rules": contents.rules, "done": done}
    title = f"{'Initialized' if done else 'Plan'}: {relative_location(next(iter(plan.rules.sources), 'rules'))}"
    drawn_by = engine or ("torch's global generator" if plan.seed is None else f"seed {plan.seed}")
    header = f"<header><h1>{escape(title)}</h1><p>{escape(summary(plan))}. Drawn by {escape(drawn_by)}.</p></header>"
    body = "\n".join([header, "<main>", *_attention(plan, texts), TREE, *texts.html(), "</main>"])
    return page(title, body, ("plan.js", "tree.js"), data)


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


def _attention(plan: Plan, texts: RuleTexts) -> list[str]:
    """Return what to look at first: uncovered and partly set parameters, shadowed rules, warnings, notes."""
    parts = [
        *_section("uncovered", _left("uncovered", plan.uncovered, "no rule reaches"), _names(plan.uncovered)),
        *_section("partial", _left("partial", plan.partial, "no rule sets all of"), _names(plan.partial)),
        *_shadowed_section(plan, texts),
    ]
    over_values = [finding for finding in plan.remarks if finding.name in ("redrawn-load", "frozen-parameter")]
    for severity, findings in (("warning", (*plan.warnings, *over_values)), ("note", plan.notes)):
        items = [_finding(finding, texts) for finding in findings]
        parts += _section(severity, f"{severity}s: {len(findings)}", items)
    return parts or ['<p class="attention fine">Every parameter is covered, and every rule has its say.</p>']


def _section(cls: str, heading: str, items: list[str]) -> list[str]:
    """Return a section that opens, or nothing where it has no items, which are HTML."""
    if not items:
        return []
    hidden = len(items) - MOST_NAMED
    more = [f"and {hidden:,} more, in the tree below"] if hidden > 0 else []
    rows = "".join(f"<li>{item}</li>" for item in items[:MOST_NAMED] + more)
    return [f'<details open class="attention {cls}"><summary>{heading}</summary><ul>{rows}</ul></details>']


def _left(status: str, entries: list[PlanEntry], how: str) -> str:
    count = len(entries)
    keep = "it keeps" if count == 1 else "they keep"
    return f"{status}: {how} {count:,} parameter{'s' * (count != 1)}; {keep} what is there"


def _names(entries: list[PlanEntry]) -> list[str]:
    return [
        f"<code>{escape(name)}</code>{f' ×{len(members)}' if len(members) > 1 else ''}"
        for name, members in grouped(entries)
    ]


def _shadowed_section(plan: Plan, texts: RuleTexts) -> list[str]:
    shadowed = plan.shadowed
    items = [
        f"{texts.link(clause.rule.source, texts.lines_of(clause).start, clause.location)} "
        f"<code>{escape(clause.text)}</code> selects {plan.selected[clause.number]:,}"
        for clause in shadowed
    ]
    heading = f"shadowed: {len(shadowed)} rule{'s' * (len(shadowed) != 1)} whose every parameter a later rule sets anew"
    return _section("shadowed", heading, items)


def _finding(finding: Diagnostic, texts: RuleTexts) -> str:
    hint = f"; {finding.hint}" if finding.hint else ""
    link = ""
    if finding.source is not None and finding.source.name in texts.numbers:
        link = f" {texts.link(finding.source.name, finding.line, finding.location)}"
    return f"<b>{escape(finding.name)}</b> {escape(finding.message + hint)}{link}"
