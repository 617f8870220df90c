"""Every packaged recipe against the library it comes from: the same names, constants, ties, distributions.

`python -m tests.libraries.test_recipes` runs the comparisons and writes `docs/recipes.md`; with `families`, it prints the rows of
families alone.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy import stats
from torch import nn

import initdsl
from initdsl.language.rules.loader import packaged_recipes
from initdsl.network.describe import describe
from initdsl.planning.plan import Plan
from tests.support import models
from tests.support.recipes import CASES, FAMILIES, GPT2, PACKAGES, SOURCES, Case, Source, strangers, text

pytestmark = pytest.mark.usefixtures("one_thread")


MARKS = ("slow", "long")
PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipes are used from folders that are not theirs."""
    monkeypatch.chdir(tmp_path)


def planned(case: Case | Source, net: nn.Module) -> Plan:
    """The plan of a case's recipe on a model, in a folder that has the manifest of the base model, if there is one."""
    with tempfile.TemporaryDirectory() as root:
        if case.base is not None:
            manifest = describe(case.base())[0].to_manifest()
            (Path(root) / "base.json").write_text(json.dumps(manifest), "utf-8")
        plan = initdsl.plan(net, f'use "initdsl:{case.recipe}"', strict=True, vars=case.vars, root=root)
    assert not plan.warnings, [str(one) for one in plan.warnings]
    return plan


def compared(case: Case) -> dict[str, int]:
    """Fill a model by its recipe and compare it with one the library started; how many parameters of either kind."""
    torch.manual_seed(1)
    theirs, ours, again = case.build(), case.build(), case.build()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.fill_(77.0)
    plan = planned(case, ours)
    assert plan.uncovered == []
    plan.apply()
    models.bounded(plan, ours, theirs)
    assert not any((p == 77.0).any() for p in ours.parameters())
    return models.alike(ours, theirs, again, case.rounding)


@pytest.mark.models
@pytest.mark.parametrize(
    "case", [pytest.param(c, id=c.id, marks=[getattr(pytest.mark, m) for m in MARKS if getattr(c, m)]) for c in CASES]
)
def test_a_recipe_starts_the_model_as_its_library_does(case: Case, torchvision_shim: None) -> None:
    pytest.importorskip(case.library, exc_type=ImportError)
    assert compared(case)["drawn"] > 0


def exact(case: Case) -> bool:
    """Whether a recipe draws bit for bit what transformers does, from one seed, where the library's own start begins.

    A tied table is left out: transformers draws it under each of its names, so what it holds is another draw of the same.
    """
    torch.manual_seed(1)
    theirs: Any = case.build()
    ours = case.build()
    for module in theirs.modules():
        module._is_hf_initialized = False
    for tensor in (*theirs.parameters(), *theirs.buffers()):
        tensor._is_hf_initialized = False
    torch.manual_seed(5)
    theirs.initialize_weights()
    torch.manual_seed(5)
    planned(case, ours).apply()
    tied = {name for names in models.ties(theirs) for name in names}
    left, right = dict(ours.named_parameters()), dict(theirs.named_parameters())
    return all(torch.equal(left[name], right[name]) for name in left if name not in tied)


def verdict(cases: list[Case]) -> str:
    """What a row of families says: each case is compared by itself, too."""
    every = all(case.library == "transformers" and not case.vars and exact(case) for case in cases)
    return "bit for bit" if every else "same distributions"


def families() -> Iterator[tuple[str, list[Case]]]:
    """`(name, cases)` of every row: of one library, recipe and setting."""
    by_id = {case.id for case in CASES}
    for name, ids in FAMILIES.items():
        rows: dict[str, list[Case]] = {}
        for case in (case for case in CASES if case.id in ids):
            rows.setdefault(f"{case.library} {case.recipe} {case.vars}", []).append(case)
        assert set(ids) <= by_id, name
        for cases in rows.values():
            yield name, cases


def family_row(name: str, cases: list[Case]) -> str:
    first = cases[0]
    told = "".join(
        f", `{key}={str(value).lower() if isinstance(value, bool) else value}`" for key, value in first.vars.items()
    )
    return f"| {name} | {first.library} | `{first.recipe}`{told} | {verdict(cases)} |"


def stranger_row(name: str, library: str, recipe: str) -> str:
    return f"| {name} | {library} | none; `{recipe}` is not for it | not covered |"


@pytest.mark.models
@pytest.mark.parametrize(("name", "cases"), [pytest.param(n, c, id=f"{n} of {c[0].library}") for n, c in families()])
def test_which_recipe_a_family_has(name: str, cases: list[Case], torchvision_shim: None) -> None:
    """The page's row of a family says what comparing gives."""
    pytest.importorskip(cases[0].library, exc_type=ImportError)
    assert family_row(name, cases) in PAGE.read_text("utf-8"), "run `python -m tests.libraries.test_recipes families`"


@pytest.mark.models
@pytest.mark.slow
@pytest.mark.parametrize(("name", "library", "recipe", "build"), [pytest.param(*s, id=s[0]) for s in strangers()])
def test_a_family_without_a_recipe_is_not_started_silently(
    name: str, library: str, recipe: str, build: Callable[[], nn.Module], torchvision_shim: None
) -> None:
    pytest.importorskip(library, exc_type=ImportError)
    assert stranger_row(name, library, recipe) in PAGE.read_text("utf-8"), (
        "run `python -m tests.libraries.test_recipes families`"
    )
    with pytest.raises(initdsl.ResolveError):
        initdsl.plan(build(), f'use "initdsl:{recipe}"', strict=True)


@pytest.mark.models
def test_the_learned_activations_of_apertus(torchvision_shim: None) -> None:
    """transformers works them out in float32, three roundings of it; ours is rounded once."""
    pytest.importorskip("transformers")
    build = text("ApertusForCausalLM")
    theirs, ours = build(), build()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.fill_(77.0)
    initdsl.apply(ours, 'use "initdsl:llama"', strict=True)
    left, right = dict(ours.named_parameters()), dict(theirs.named_parameters())
    names = [name for name in left if "alpha_" in name]
    assert len(names) == 6
    for name in names:
        torch.testing.assert_close(left[name], right[name], rtol=1e-6, atol=0)


def test_every_recipe_is_compared() -> None:
    found = {case.recipe for case in CASES} | {source.recipe for source in SOURCES}
    parts = {part for name in found for part in re.findall('use "initdsl:(.*?)"', packaged_recipes()[name].read_text())}
    assert found | parts == set(packaged_recipes())


def test_the_comparison_can_fail(torchvision_shim: None) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(AssertionError, match="standard deviation"):
        compared(Case("gpt2", "transformers", "wrong", text("GPT2LMHeadModel", **GPT2), {"std": 0.03}))


# ---- recipes whose libraries are not ours to install


def written(case: Source) -> dict[str, int]:
    """Fill a model by its recipe and hold every parameter against what the source says."""
    torch.manual_seed(2)
    net = case.build()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(77.0)
    planned(case, net).apply()
    counts = {"constant": 0, "drawn": 0}
    for name, parameter in net.named_parameters():
        assert not (parameter == 77.0).any(), name
    for pattern, value in case.values.items():
        found = [p for n, p in net.named_parameters() if re.search(pattern, n)]
        assert found, pattern
        counts["constant"] += len(found)
        assert all((p == value).all() for p in found), pattern
    for pattern, std in case.stds.items():
        found = [p.detach().double().flatten() for n, p in net.named_parameters() if re.search(pattern, n)]
        assert found, pattern
        counts["drawn"] += len(found)
        for values in found:  # within five standard errors, whose square is at most (9 - 1) / 4n for what is drawn here
            error = (2 / values.numel()) ** 0.5
            assert values.std().item() == pytest.approx(std, rel=5 * error), pattern
    return counts


@pytest.mark.parametrize("case", SOURCES, ids=lambda case: case.source_id)
def test_a_recipe_says_what_its_source_says(case: Source) -> None:
    assert written(case)["drawn"] > 0


def test_chrono_gates() -> None:
    """A forget gate is log-uniform up to the longest time; the input gate closes as far as it opens."""
    net = nn.LSTM(4, 3000, 1)
    # the matrices, as wide as there are gates, would take seconds to be made orthogonal
    initdsl.apply(net, 'use "initdsl:lstm_chrono"; LSTM.weight_hh_l0 = 0', vars={"t_max": 784}, seed=0)
    i, f, g, o = net.bias_ih_l0.detach().view(4, 3000)
    assert torch.equal(i, -f)
    assert not g.any()
    assert not o.any()
    assert stats.kstest(f.exp().numpy(), "uniform", (1, 782)).pvalue > 1e-3


# ---- the page


def package(case: Case) -> str:
    return PACKAGES.get(case.library, case.library)


def described(recipe: str) -> str:
    """The first line of a recipe."""
    return packaged_recipes()[recipe].read_text("utf-8").partition("\n")[0].removeprefix("# ")


def page(counted: dict[str, dict[str, int]]) -> str:
    """The table of `docs/recipes.md`."""
    names = sorted(packaged_recipes())
    listed = "\n".join(f"| `{name}` | {described(name)} |" for name in names)
    rows = [
        f"| `{case.recipe}` | {package(case)} {version(package(case))} | {case.label} | {counted[case.id]['constant']} | "
        f"{counted[case.id]['drawn']} | same |"
        for case in sorted(CASES, key=lambda case: case.recipe)
    ]
    sources = "\n".join(
        f"| `{s.recipe}` | {s.source} | {counted[s.source_id]['constant']} | {counted[s.source_id]['drawn']} | as it says |"
        for s in sorted(SOURCES, key=lambda s: s.recipe)
    )
    return OPENING.format(listed=listed, families=family_rows(), rows="\n".join(rows), sources=sources)


def family_rows() -> str:
    known = [family_row(name, cases) for name, cases in families()]
    others = [stranger_row(name, library, recipe) for name, library, recipe, _ in strangers()]
    return "\n".join(sorted(known, key=str.lower) + others)


def test_the_page_has_every_case() -> None:
    text = PAGE.read_text("utf-8")
    for name in packaged_recipes():
        assert f"| `{name}` | {described(name)} |" in text, "run `python -m tests.libraries.test_recipes`"
    for case in CASES:
        assert f"| {case.label} | " in text, "run `python -m tests.libraries.test_recipes`"
    for source in SOURCES:
        assert f"| `{source.recipe}` | {source.source} | " in text, "run `python -m tests.libraries.test_recipes`"


OPENING = """\
# Recipes

Recipes are rule files for published models, in the package. `use "initdsl:gpt2"` takes one. `--set std=0.01` and
`vars={{"std": 0.01}}` set the names that it declares with `let`. Rules behind it in your file override it.
`python -m tests.libraries.test_recipes` writes this page; it is also the test.

```python
>>> import initdsl
>>> from torch import nn
>>> net = nn.LSTM(8, 16)
>>> report = initdsl.apply(net, 'use "initdsl:lstm"; LSTM.weight_hh_l0 ~ normal(0, 0.1)')
>>> net.bias_ih_l0[15:17].tolist()
[0.0, 1.0]
```

| recipe | |
|---|---|
{listed}

## Which recipe for which model

The table goes by the name of a family and the library of its class. Its verdicts:

- *Bit for bit*: under one `torch.manual_seed` every value is the library's own, from where its initialization begins.
  A tied table is the exception. transformers draws it once for each of its names, so it is another draw of the same
  distribution.
- *Same distributions*: constants and ties are equal. Draws come from the same distributions, in another order.
- *Not covered*: no recipe is right. The one that looks nearest leaves parameters alone, which is an error under
  `strict=True`.

Look here, not at the names. Where all names fit, a recipe can't tell that a model is not its own. For a model that is not on
this page, [`initdsl infer`](infer.md) proposes rules.

| family | library | recipe | verdict |
|---|---|---|---|
{families}

## Compared with the libraries

Each recipe fills a model of its library. The library itself initializes a second one. *Same* means all of these:

- Every parameter is covered, and every rule selects something.
- Ties and constants are equal.
- Every drawn parameter has the same mean and standard deviation within five standard errors.
- Pooled over layers, it passes a Kolmogorov-Smirnov test.

ResNet's convolutions, BERT, ALBERT, LLaMA and ViT's linear layers are the same bit for bit under one `torch.manual_seed`
(`tests/libraries/test_models.py`).

| recipe | library | model | constant | drawn | verdict |
|---|---|---|---|---|---|
{rows}

## Compared with what the sources say

These are recipes of papers, and of libraries that are large or can't be installed. Each fills a small model with the same
names. Its constants and standard deviations are compared with the formulas of the source.

| recipe | source | constant | drawn | verdict |
|---|---|---|---|---|
{sources}
"""


def main() -> None:
    from tests.conftest import let_torchvision_import

    let_torchvision_import()
    if sys.argv[1:] == ["families"]:
        print(family_rows())
        return
    counted = {case.id: compared(case) for case in CASES}
    PAGE.write_text(page(counted | {source.source_id: written(source) for source in SOURCES}), "utf-8")


if __name__ == "__main__":
    sys.exit(main())


class Reading(nn.Module):
    """A model of this width that a plain `nn.Linear` reads out; tied to what reads in, or not."""

    def __init__(self, width: int, tied: bool = False) -> None:
        super().__init__()
        self.embed, self.up = nn.Embedding(300, width), nn.Linear(width, 4 * width)
        self.head = nn.Linear(width, 300, bias=False)
        if tied:
            self.head.weight = self.embed.weight


@pytest.mark.parametrize("tied", [False, True])
def test_a_plain_readout_shrinks_with_the_width_in_mup(tied: bool, tmp_path: Path) -> None:
    (tmp_path / "base.json").write_text(json.dumps(initdsl.describe(Reading(32, tied))[0].to_manifest()))
    for width in (16, 32, 64, 128):
        net = Reading(width, tied)
        initdsl.apply(net, 'use "initdsl:mup"', seed=0, root=tmp_path, strict=True)
        assert net.embed.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert net.up.weight.std().item() == pytest.approx(0.02 * (32 / width) ** 0.5, rel=0.1)
        assert net.head.weight.std().item() == pytest.approx(0.02 if tied else 0.02 * 32 / width, rel=0.05)
