"""Plans and reports as pages: what they say, in a real browser; what they may not do; how large they get."""

from __future__ import annotations

import html
import json
import math
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import initdsl
from initdsl.reports.measure import measures_of
from initdsl.reports.pages import plan_page
from initdsl.reports.pages.tree import Node, tree
from initdsl.statistics.moments import measure
from initdsl.statistics.predicted import expected
from tests.support.browser import CHROMIUM, Browser
from tests.support.nets import Tower
from tests.support.pages import initdsl_command

pytestmark = pytest.mark.filterwarnings("ignore::initdsl.UncoveredParameterWarning")

RULES = """# a tower
let std = 0.02
Linear+.weight ~ normal(0, 5)
Linear+.weight ~ normal(0, std)
net.layers[i].proj.weight ~ normal(0, std / (i + 1))
Linear+.bias = 0
net.embed.weight ~ uniform(-1, 3)
net.embed.weight[padding_idx] = 0
net.scale[0] = 2
"""


def report(depth: int = 3) -> initdsl.Report:
    return initdsl.apply(Tower(depth, width=32), RULES, seed=0)


def data_of(page: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


# ---- what is measured and promised


@pytest.mark.parametrize("shape", [(7,), (300, 200), (5_000_000,)])
def test_a_measure_is_numpys(shape: tuple[int, ...]) -> None:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3 + 1
    found = measure(values)
    flat = values.double().numpy().reshape(-1)
    assert found.count == flat.size
    assert found.mean == pytest.approx(np.mean(flat), rel=1e-9)
    assert found.std == pytest.approx(np.std(flat), rel=1e-9)
    assert (found.low, found.high) == (flat.min(), flat.max())
    if flat.size < 100_000:
        assert list(found.histogram) == np.histogram(flat, len(found.histogram))[0].tolist()


def test_what_is_not_finite_is_counted_apart() -> None:
    found = measure(torch.tensor([1.0, math.nan, 3.0, math.inf]))
    assert (found.count, found.other, found.mean, found.high) == (2, 2, 2.0, 3.0)
    assert measure(torch.full((3,), math.nan)).count == 0
    assert measure(torch.empty(0)).count == 0


@pytest.mark.parametrize(
    "rule",
    [
        "~ normal(1, 2)", "~ uniform(-1, 3)", "~ trunc_normal(0, 1, -1, 2)", "= 4", "~ orthogonal(gain=3)",
        "~ sparse(sparsity=0.25, std=2)", "= eye()", "~ kaiming_uniform()", "~ normal(0, 1); net.weight *= -0.5",
        "~ uniform(0, 1); net.weight += 2; net.weight /= 4",
    ],
)  # fmt: skip
def test_what_is_expected_is_what_is_found(rule: str) -> None:
    made = initdsl.apply(nn.Linear(200, 300, bias=False), f"net.weight {rule}", seed=3)
    entry = made["weight"]
    promise = expected(entry)
    assert promise is not None
    found = measures_of(made.plan, made._live)[entry.tensor.index]
    assert found.mean == pytest.approx(promise[0], abs=5 * promise[1] / math.sqrt(found.count) + 1e-7)
    assert found.std == pytest.approx(promise[1], rel=0.02, abs=1e-7)
    assert promise[2] <= found.low + 1e-6
    assert found.high <= promise[3] + 1e-6


@pytest.mark.parametrize("rule", ["~ normal(0, 1); net.weight[0] = 2", "= index(0)", "+= 3"])
def test_what_is_not_known_is_not_promised(rule: str) -> None:
    made = initdsl.plan(nn.Linear(4, 3), f"net.weight {rule}")
    assert expected(made["weight"]) is None


def test_parametrized_tensors_are_measured_as_the_network_uses_them() -> None:
    net = nn.utils.parametrizations.weight_norm(nn.Linear(30, 30))
    made = initdsl.apply(net, "net.weight ~ normal(0, 2); net.bias = 1", seed=0)
    found = measures_of(made.plan, made._live)[made["weight"].tensor.index]
    assert found.std == pytest.approx(net.weight.double().std(correction=0).item(), rel=1e-5)


# ---- the tree


def test_layers_that_are_alike_are_folded() -> None:
    made = report(5)
    folded = tree(made.plan, measures_of(made.plan, made._live))
    layers = next(child for child in folded.children if child.name == ".layers")
    (fold,) = layers.children
    assert (fold.name, len(fold.members), fold.cls) == ("[0..4]", 5, "Block")
    leaf = next(leaf for leaf in fold.below() if leaf.name == "in_proj_weight")
    assert [e.name for e in leaf.entries] == [f"layers.{i}.attn.in_proj_weight" for i in range(5)]
    proj = next(leaf for leaf in fold.below() if leaf.entries[0].name == "layers.0.proj.weight")
    together = torch.cat([made._live.modules[0].layers[i].proj.weight.detach().reshape(-1) for i in range(5)])
    assert proj.measure is not None
    assert proj.measure.std == pytest.approx(together.double().std(correction=0).item(), rel=1e-6)
    assert proj.measure.high == together.max().item()
    assert sum(proj.measure.histogram) == pytest.approx(together.numel(), rel=0.02)


def test_a_layer_that_differs_stands_alone() -> None:
    net = Tower(5)
    made = initdsl.plan(net, "*.* = 0; net.layers[2].norm.weight = 1")
    names = [c.name for c in next(c for c in tree(made).children if c.name == ".layers").children]
    assert names == ["[0..1]", "[2]", "[3..4]"]


def leaves(node: Node) -> Iterator[str]:
    for leaf in node.below():
        yield from (entry.name for entry in leaf.entries)


def test_every_parameter_is_in_the_tree_once() -> None:
    made = initdsl.apply(Tower(4), "tie net.embed.weight net.head.weight; Linear+.* = 0", seed=0)
    assert sorted(leaves(tree(made.plan))) == sorted(e.name for e in made.plan.entries)


# ---- files


def test_a_report_is_saved_by_its_suffix(tmp_path: Path) -> None:
    made = report()
    made.save(tmp_path / "init.json")
    made.save(str(tmp_path / "init.txt"))
    made.save(tmp_path / "init.html")
    assert json.loads((tmp_path / "init.json").read_text("utf-8")) == json.loads(json.dumps(made.to_dict()))
    assert (tmp_path / "init.txt").read_text("utf-8") == f"{made}\n"
    assert data_of((tmp_path / "init.html").read_text("utf-8"))["done"] is True
    with pytest.raises(ValueError, match=r"`init.doc` ends in none of .html, .json, .txt"):
        made.save("init.doc")
    with pytest.raises(OSError, match="there is no folder"):
        made.save(tmp_path / "nowhere" / "init.html")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["init.html", "init.json", "init.txt"]


def test_the_commands_print_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rules.init").write_text("Linear.weight ~ normal(0, 1)", "utf-8")
    Path("m.py").write_text("from torch import nn\ndef f(): return nn.Linear(30, 40)", "utf-8")
    common = ["rules.init", "--model", "m.py:f"]
    assert initdsl_command(["apply", *common, "--quiet", "--report", "init.html"]) == (0, "")
    assert initdsl_command(["plan", *common, "-o", "plan.html"]) == (0, "")
    printed = initdsl_command(["plan", *common, "--format", "html"])
    assert printed == (0, Path("plan.html").read_text("utf-8"))
    for name, done in (("plan.html", False), ("init.html", True)):
        weight = data_of(Path(name).read_text("utf-8"))["tree"]["p"][0]
        assert weight[3] == [0, 0, 1, 1, "-inf", "inf"]
        assert len(weight) > 4 if done else len(weight) == 4  # a plan has measured nothing
    code, said = initdsl_command(["apply", *common, "--report", "init.pdf"])
    assert code == 2
    assert "`init.pdf` ends in none of" in said


def test_a_page_of_a_plan_says_what_needs_a_look() -> None:
    made = initdsl.plan(Tower(), RULES + "Conv2d.weight = 0\n")
    page = html.unescape(plan_page(made))
    assert "uncovered: no rule reaches 12 parameters" in page
    assert "partial: no rule sets all of 2 parameters" not in page  # the embedding has a base
    assert "partial: no rule sets all of 1 parameter;" in page
    assert re.search(r"shadowed: 1 rule .*?<code>Linear\+\.weight ~ normal\(0, 5\)</code> selects", page, re.DOTALL)
    assert "unmatched" in page


def test_notebooks_get_a_table() -> None:
    net = nn.ModuleDict({"a<b>": nn.Linear(2, 2)})
    made = initdsl.apply(net, "Linear.weight = 0", seed=0)
    shown = made._repr_html_()
    assert "a&lt;b&gt;" in shown
    assert "a<b>" not in shown
    assert shown.count("<tr>") == 3
    assert made.plan._repr_html_() == shown


# ---- in a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    opened = Browser()
    yield opened
    opened.close()


def rows(browser: Browser) -> list[str]:
    found: list[str] = browser.run("[...document.querySelectorAll('#tree .row')].map((row) => row.innerText)")
    return [" ".join(row.split()) for row in found]


def focused(browser: Browser) -> str:
    return " ".join(str(browser.run("document.activeElement.innerText ?? document.activeElement.id")).split())


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "init.html"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report(12).save(path)
    return path


def test_a_page_loads_nothing_and_complains_of_nothing(browser: Browser, saved: Path) -> None:
    browser.open(saved)
    assert browser.errors == []
    assert browser.requests == [saved.as_uri()]
    assert not re.search(r"(src|href)=[\"'](?!#)", saved.read_text("utf-8"))


def test_a_row_shows_rule_expected_and_measured(browser: Browser, saved: Path) -> None:
    browser.open(saved)
    (embed,) = [row for row in rows(browser) if row.startswith(".weight") and "6×32" in row and "uniform" in row]
    assert "~ uniform(-1, 3); [padding_idx] = 0 <rules>:7 <rules>:8" in embed
    (head,) = [row for row in rows(browser) if row.startswith(".weight") and "6×32" in row and "normal" in row]
    assert "~ normal(0, std) normal(0, 0.02) <rules>:4 mean 0 std 0.02 mean" in head
    assert browser.run("document.querySelectorAll('#tree svg.histogram rect').length") > 50
    assert browser.run("document.querySelectorAll('#tree svg.histogram polyline').length") == 2


def test_a_rule_is_a_click_away(browser: Browser, saved: Path) -> None:
    browser.open(saved)
    browser.run("[...document.querySelectorAll('#tree a')].find((a) => a.innerText === '<rules>:6').click()")
    assert browser.run("location.hash") == "#f0-L6"
    target = " ".join(browser.run("document.querySelector(':target').innerText").split())
    assert re.fullmatch(r"6 \d+ Linear\+\.bias = 0", target)
    assert browser.run("document.querySelector(':target').getBoundingClientRect().top < innerHeight")


def test_folded_layers_open_one_by_one(browser: Browser, saved: Path) -> None:
    browser.open(saved)
    assert any(row.startswith("[0..11] ×12 Block") for row in rows(browser))
    browser.run(
        "[...document.querySelectorAll('#tree .row')].find((r) => r.innerText.startsWith('each of 12')).click()"
    )
    assert sum(bool(re.match(r"\[\d+\] Block", row)) for row in rows(browser)) == 12


def test_search_and_filters(browser: Browser, saved: Path) -> None:
    browser.open(saved)
    browser.press("/")
    browser.type("proj bias")
    found = rows(browser)
    assert len(found) == 3
    assert all("bias" in row and "×12" in row for row in found)
    assert browser.run("document.getElementById('count').textContent") == "36 tensors found"
    browser.press("Escape")
    browser.type("layers.7.norm.weight")
    assert [row.split()[0] for row in rows(browser)] == ["net.layers[7].norm.weight"]
    browser.press("Escape")
    assert rows(browser)[0].startswith("net Tower")
    browser.run("document.querySelector('#filters input[value=partial]').click()")
    assert [row.split()[0] for row in rows(browser)] == ["net.scale"]


def test_the_keyboard_is_enough(browser: Browser, saved: Path) -> None:
    browser.open(saved)
    browser.run("document.querySelector('#tree .row').focus()")
    browser.press("End", "Home")
    assert focused(browser).startswith("net Tower")
    browser.press("ArrowLeft")
    assert len(rows(browser)) == 1
    browser.press("ArrowRight", "ArrowDown")
    assert focused(browser).startswith(".scale")
    browser.press("Enter")
    assert browser.run("location.hash") == "#f0-L9"
    browser.open(saved)
    stops = set()
    for _ in range(40):
        browser.press("Tab")
        stops.add(browser.run("document.activeElement.id || document.activeElement.className"))
    assert "search" in stops
    assert "row module" in stops
    assert browser.run("[...document.querySelectorAll('#tree [tabindex=\"0\"]')].length") <= 3


def test_dark_light_and_a_phone(browser: Browser, saved: Path) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    browser.open(saved)
    light = browser.run(paper)
    browser.open(saved, dark=True)
    assert browser.run(paper) != light
    contrast = browser.run(CONTRAST)
    assert min(contrast) >= 4.5
    browser.open(saved, width=360, height=740)
    assert min(browser.run(CONTRAST)) >= 4.5
    assert browser.run("document.documentElement.scrollWidth") <= 360
    browser.run("document.querySelector('[id=open]').click()")
    assert browser.run("document.documentElement.scrollWidth") <= 360


# the contrast of every text with what is behind it, by the formula of WCAG 2.2
CONTRAST = """(() => {
  const light = (c) => { const [r, g, b] = c.map((v) => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
  const colour = (text) => text.match(/[\\d.]+/g).map(Number);
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    if (!element.checkVisibility() || ![...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
    let behind = element, paper;
    do { paper = colour(getComputedStyle(behind).backgroundColor); behind = behind.parentElement; } while (behind && paper[3] === 0);
    const [a, b] = [light(colour(getComputedStyle(element).color).slice(0, 3)), light(paper.slice(0, 3))];
    found.push((Math.max(a, b) + .05) / (Math.min(a, b) + .05));
  }
  return found;
})()"""

HOSTILE = [
    "</script><script>document.title='owned'</script>", "<img src=x onerror=document.title='owned'>", "\"'><b>", "a&amp;b",
    "{{data}}", "__proto__", "constructor", "\u202eesrever", "\U0001f600",
    "<!--", "]]>", "javascript:alert(1)",
]  # fmt: skip


def test_hostile_names_are_only_names(browser: Browser, tmp_path: Path) -> None:
    net = nn.ModuleDict()
    for name in HOSTILE:
        net._modules[name] = nn.Linear(2, 2)
    net["</script><script>document.title='owned'</script>"].__class__ = type("<i>Hostile</i>", (nn.Linear,), {})
    rules = "# </script><script>document.title='owned'</script> &lt;\n*.weight ~ normal(0, 1)\n*.bias = 1"
    initdsl.apply(net, rules, seed=0).save(tmp_path / "hostile.html")
    browser.open(tmp_path / "hostile.html")
    assert browser.errors == []
    assert browser.run("document.title") == "Initialized: <rules>"
    assert browser.run("document.querySelectorAll('#tree b, #tree i, #tree img, script').length") == 2
    browser.run("document.getElementById('open').click()")
    text = browser.run("document.getElementById('tree').textContent")
    assert all(name in text for name in HOSTILE)
    assert "<i>Hostile</i>" in text
    shown = browser.run("document.querySelector('.source code').textContent")
    assert shown == "# </script><script>document.title='owned'</script> &lt;"
    for name in HOSTILE:
        browser.run(f"search.value = {json.dumps(name)}; draw()")
        assert browser.run("document.querySelectorAll('#tree .row').length") >= 2


@pytest.mark.parametrize("layers", [3000, pytest.param(50_000, marks=pytest.mark.slow)])
def test_very_many_parameters(browser: Browser, tmp_path: Path, layers: int) -> None:
    with torch.device("meta"):
        net = nn.ModuleList(nn.Linear(2, 2) for _ in range(layers))
    made = initdsl.plan(net, "net[i].weight = i % 7; Linear.bias = 0")
    made.save(tmp_path / "large.html")
    assert (tmp_path / "large.html").stat().st_size < 40_000 + 120 * layers
    assert len(made._repr_html_()) < 100_000
    browser.open(tmp_path / "large.html")
    assert browser.errors == []
    assert any(row.startswith(f"[0..{layers - 1}] ×{layers}") for row in rows(browser))
    browser.run("document.getElementById('open').click()")
    browser.run("[...document.querySelectorAll('#tree .row')].find((r) => r.innerText.startsWith('each of')).click()")
    assert 100 < browser.run("document.querySelectorAll('#tree > *').length") <= 301
    browser.run(f"search.value = '{layers - 7}.weight'; draw()")
    assert [row.split()[0] for row in rows(browser)] == [f"net[{layers - 7}].weight"]
