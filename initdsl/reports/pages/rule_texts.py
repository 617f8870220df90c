"""The rule files of a plan on its page: each line with an anchor, and how many tensors it makes."""

from __future__ import annotations

from html import escape

from initdsl.planning.actions import Clause
from initdsl.planning.plan import Plan
from initdsl.text.wording import relative_location

__all__ = ["RuleTexts"]


class RuleTexts:
    """The rule files, by their names: `numbers` count them, `made` has the tensors that each line makes, by index."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.numbers = {name: number for number, name in enumerate(plan.rules.sources)}
        self.made: dict[tuple[str, int], set[int]] = {}
        for entry in plan.entries:
            for action in entry.actions:
                for line in self.lines_of(action.clause):
                    self.made.setdefault((action.clause.rule.source, line), set()).add(entry.tensor.index)

    def lines_of(self, clause: Clause) -> range:
        """Return the lines of a statement, counted from 1."""
        source, span = self.plan.rules.source(clause.rule.source), clause.rule.span
        return range(source.position(span.start).line, source.position(max(span.start, span.end - 1)).line + 1)

    def anchor(self, name: str, line: int) -> str:
        """Return the HTML id of a line of a file."""
        return f"f{self.numbers.get(name, 0)}-L{line}"

    def link(self, name: str, line: int, location: str) -> str:
        """Return a link to a line of a file, which stands for `file:line`."""
        return f'<a href="#{self.anchor(name, line)}">{escape(relative_location(location))}</a>'

    def html(self) -> list[str]:
        """Return the section that shows the files."""
        shadowed = {(clause.rule.source, n) for clause in self.plan.shadowed for n in self.lines_of(clause)}
        parts = ['<section aria-labelledby="h-rules"><h2 id="h-rules">Rules</h2>']
        for name, text in self.plan.rules.sources.items():
            lines = enumerate(text.removesuffix("\n").split("\n"), 1)
            rows = "".join(self._row(name, number, line, (name, number) in shadowed) for number, line in lines)
            heading = escape(relative_location(name))
            parts.append(
                f'<h3>{heading}</h3><div class="source"><table><caption class="hidden">'
                f"{heading}: line, tensors it makes, text</caption><tbody>{rows}</tbody></table></div>"
            )
        return [*parts, "</section>"]

    def _row(self, name: str, number: int, line: str, shadowed: bool) -> str:
        count, anchor = len(self.made.get((name, number), ())), self.anchor(name, number)
        made = f"{count:,}" if count else "shadowed" if shadowed else ""
        title = f"{count:,} tensor{'s' * (count != 1)} made by this line" if count else made
        cls = " class=shadowed" if shadowed else ""
        return (
            f'<tr id="{anchor}"{cls}><th scope="row"><a href="#{anchor}">{number}</a></th>'
            f'<td class="made" title="{title}">{made}</td>'
            f"<td><code>{escape(line.rstrip(chr(13))) or ' '}</code></td></tr>"
        )
