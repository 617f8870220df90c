"""The page of a diagnosis, or of two side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from initdsl.reports.pages.shell import page

__all__ = ["diagnosis_page"]


BODY = """<section aria-labelledby="h-charts"><h2 id="h-charts">With depth</h2><div class="charts" id="charts"></div></section>
<section aria-labelledby="h-layers"><h2 id="h-layers">Layers</h2>
<div class="tools" role="search"><input type="search" id="search" placeholder="Search layers  ( / )" aria-label="Search layers" autocomplete="off" spellcheck="false">
<label class="chip"><input type="checkbox" id="leaves"> all layers</label></div>
<p id="count" role="status" aria-live="polite"></p>
<div class="scroll" tabindex="0" role="region" aria-labelledby="h-layers"><table class="plain" id="layers"></table></div>
<noscript><p>Charts and table need JavaScript; nothing is loaded or sent.</p></noscript></section>"""


def diagnosis_page(sides: Sequence[Mapping[str, Any]]) -> str:
    """Return a page of one diagnosis (the values of `Diagnosis.to_dict`), or of two of the same model."""
    first = sides[0]
    title = f"Diagnosis: {first['network']}"
    parts = [f"<header><h1>{escape(title)}</h1></header><main>"]
    for number, one in enumerate(sides):
        by = one["rules"] or "as it is"
        side = f'<span class="key{number}">{"AB"[number]}</span>: ' if len(sides) > 1 else ""
        bad = any(remark["severity"] == "warning" for remark in one["verdict"])
        items = "".join(
            f"<li{' class=bad' if remark['severity'] == 'warning' else ''}>{escape(remark['text'])}</li>"
            for remark in one["verdict"]
        )
        parts.append(
            f'<div class="attention {"warning" if bad else "fine"}"><strong>{side}{escape(by)}</strong>'
            f'<p class="soft">on {escape(one["inputs"])}; {escape(one["optimizer"])}</p>'
            f"<ul>{items or '<li>Nothing stands out.</li>'}</ul></div>"
        )
    return page(title, "\n".join([*parts, BODY, "</main>"]), ("diagnosis.js",), list(sides))
