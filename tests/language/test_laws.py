"""The laws of the language, one property each, over generated models and the rule files that fit them (`fitting.py`).

The usual run takes the same four hundred examples every time, and `make test-long` two thousand. `INITDSL_LAWS=100` before
`pytest tests/language/test_laws.py` looks at a hundred times as many as that, others at every run.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import initdsl
from initdsl.api.plan import with_live
from initdsl.formatter.layout import format
from initdsl.linter import against
from initdsl.linter.config import Config
from initdsl.linter.fixing import fixed
from initdsl.planning.saved import read_plan
from tests.support.fitting import Case, Fitting, Rule, cases, made, network_shapes
from tests.support.nets import bits, named, same, snapshot

pytestmark = [
    pytest.mark.filterwarnings("ignore::initdsl.UncoveredParameterWarning"),
    pytest.mark.filterwarnings("ignore::initdsl.UnmatchedRuleWarning"),
]

TIMES = float(os.environ.get("INITDSL_LAWS", "0.2"))
SEEDS = st.sampled_from([None, 0, 7])


def law(examples: int) -> Callable[[Any], Any]:
    return settings(
        max_examples=max(1, int(examples * TIMES)),
        deadline=None,
        derandomize=TIMES <= 1,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def values(net: nn.Module) -> dict[str, Any]:
    """The bits of every parameter and buffer under every name."""
    return {name: bits(tensor) for name, tensor in named(net).items()}


def filled(case: Case, rules: Any = None, seed: int | None = None, start: int = 3) -> tuple[dict[str, Any], Any]:
    """What rules make of the case's model, and where they leave torch's generator, which they find at `start`."""
    net = case.net()
    torch.default_generator.manual_seed(start)
    initdsl.apply(net, case.text if rules is None else rules, seed=seed)
    return values(net), torch.random.get_rng_state().tolist()


def outcome(plan: Any) -> list[Any]:
    """A plan without the words and places of its rules."""
    rows = [plan.tied, [note.name for note in plan.warnings]]
    return rows + [[e.name, e.names, e.status, e.to_dict()["values"], len(e.actions)] for e in plan]


def agree(case: Case, rules: str) -> None:
    """Other rules come to what the case's come to: in the plan, drawn by torch's generator, and seeded."""
    net = case.net()
    assert outcome(initdsl.plan(net, rules)) == outcome(initdsl.plan(net, case.text))
    assert filled(case, rules) == filled(case)
    assert filled(case, rules, seed=7) == filled(case, seed=7)


# ---- plan and apply


@law(200)
@given(cases(), SEEDS)
def test_planning_touches_nothing(case: Case, seed: int | None) -> None:
    net = case.net()
    before = snapshot(net)
    plan = initdsl.plan(net, case.text, seed=seed)
    str(plan)
    plan.to_dict()
    for entry in plan:
        str(plan.explain(entry.name))
    against(net)(initdsl.parse(case.text))
    same(before, snapshot(net))


@law(300)
@given(cases(), SEEDS)
def test_apply_obeys_its_plan(case: Case, seed: int | None) -> None:
    net = case.net()
    plan = initdsl.plan(case.net(), case.text, seed=seed)
    before, objects = values(net), named(net)
    flags = [(m.training, list(m._forward_hooks.values())) for m in net.modules()]
    torch.default_generator.manual_seed(3)
    random = torch.random.get_rng_state()
    report = initdsl.apply(net, case.text, seed=seed)
    assert [e.to_dict() for e in report] == [e.to_dict() for e in plan if e.actions]
    assert report.uncovered == [e.name for e in plan.uncovered]
    assert [e.name for e in plan if e.tensor.kind != "buffer"] == [name for name, _ in net.named_parameters()]
    assert flags == [(m.training, list(m._forward_hooks.values())) for m in net.modules()]
    after, now = values(net), named(net)
    tied = {name for names in plan.tied for name in names}
    for entry in plan:
        assert len({id(now[name]) for name in entry.names}) == 1
        if entry.status in ("uncovered", "kept"):
            source = next(name for name, tensor in objects.items() if tensor is now[entry.name])
            assert after[entry.name] == before[source]
        obey(now[entry.name], entry.to_dict()["values"] if entry.distribution is not None else [])
    for name, tensor in objects.items():
        assert name in tied or now[name] is tensor
    said = {name for rule in case.rules for name in rule.writes or ()}
    if all(rule.writes is not None for rule in case.rules[1:]):  # what the rules name, by the reading of `fitting.py`
        assert said == {name for e in plan if e.status != "uncovered" for name in e.names}
    for names in plan.tied:
        assert len({id(now[name]) for name in names}) == 1
    if seed is not None or ("(" not in case.text and "default" not in case.text):
        assert torch.equal(random, torch.random.get_rng_state())


def obey(tensor: torch.Tensor, planned: list[dict[str, Any]]) -> None:
    """The values are what the one planned distribution allows."""
    for value in planned:
        if value["kind"] == "constant":
            assert torch.equal(tensor.detach(), torch.full(tensor.shape, float(value["value"])))
        elif value["kind"] in ("uniform", "trunc_normal"):
            low, high = (value["low"], value["high"]) if "low" in value else (value["a"], value["b"])
            assert tensor.min() >= low
            assert tensor.max() <= high


# ---- the cascade


@law(200)
@given(cases(most=6), st.data())
def test_a_superseded_rule_has_no_effect(case: Case, data: st.DataObject) -> None:
    whole = [number for number, rule in enumerate(case.rules) if rule.whole]
    if not whole:
        return
    number = data.draw(st.sampled_from(whole))
    selector = case.rules[number].whole
    loser = data.draw(st.sampled_from([f"{selector} ~ normal(0, 3)", f"{selector} = 9", f"keep {selector}"]))
    at = data.draw(st.integers(0, number))
    texts = [rule.text for rule in case.rules]
    agree(case, "\n".join([*texts[:at], loser, *texts[at:]]))


@law(200)
@given(cases(least=3, most=10), st.data())
def test_the_order_of_rules_for_other_tensors_is_irrelevant_under_a_seed(case: Case, data: st.DataObject) -> None:
    net = case.net()
    initdsl.apply(net, case.text, seed=7)
    ids = {name: id(tensor) for name, tensor in named(net).items()}
    left, order = list(case.rules[1:]), [case.rules[0]]
    while left:
        free = [n for n, rule in enumerate(left) if all(apart(rule, other, ids) for other in left[:n])]
        order.append(left.pop(data.draw(st.sampled_from(free))))
    other = "\n".join(rule.text for rule in order)
    assert filled(case, other, seed=7) == filled(case, seed=7)


def apart(one: Rule, other: Rule, ids: dict[str, int]) -> bool:
    """Whether two rules write to other tensors; `ids` are what names lead to once ties are made."""
    if one.writes is None or other.writes is None:
        return False
    return {ids[name] for name in one.writes}.isdisjoint(ids[name] for name in other.writes)


# ---- seeds


@law(200)
@given(cases())
def test_a_seed_gives_the_same_bits_and_leaves_torchs_generator(case: Case) -> None:
    first, _ = filled(case, seed=7, start=1)
    torch.default_generator.manual_seed(2)
    state = torch.random.get_rng_state().tolist()
    assert filled(case, seed=7, start=2) == (first, state)


@law(200)
@given(cases())
def test_a_further_module_changes_nothing_of_the_others_under_a_seed(case: Case) -> None:
    first, _ = filled(case, seed=7)
    net = case.net()
    net.add_module("further", nn.Linear(2, 3))
    initdsl.apply(net, case.text, seed=7)
    assert {n: v for n, v in values(net).items() if not n.startswith("further.")} == first


# ---- round trips


@law(100)
@given(case=cases(), seed=SEEDS)
def test_rules_and_plans_survive_pickle_and_json(
    tmp_path_factory: pytest.TempPathFactory, case: Case, seed: int | None
) -> None:
    rules = initdsl.parse(case.text)
    plan = initdsl.plan(case.net(), rules, seed=seed)
    told = plan.to_dict()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    expected = filled(case, seed=seed)
    for back in (pickle.loads(pickle.dumps(rules)), initdsl.RuleSet.model_validate_json(rules.model_dump_json())):
        assert back == rules
        assert initdsl.plan(case.net(), back, seed=seed).to_dict() == told
        assert filled(case, back, seed=seed) == expected
    path: Path = tmp_path_factory.getbasetemp() / "plan.json"
    plan.save(path)
    net = case.net()
    again = with_live(*read_plan(path).again(net))
    assert again.to_dict() == told
    torch.default_generator.manual_seed(3)
    again.apply()
    assert values(net) == expected[0]


# ---- by hand

# a rule's right side, and the line a person would write; the second list needs two dimensions
LINES = [
    ("~ normal(0, 0.02)", "nn.init.normal_({}, 0, 0.02)"),
    ("~ normal(mean=1)", "nn.init.normal_({}, mean=1)"),
    ("~ uniform(-1, 2)", "nn.init.uniform_({}, -1, 2)"),
    ("~ trunc_normal(std=0.5, a=-1, b=1)", "nn.init.trunc_normal_({}, std=0.5, a=-1, b=1)"),
    ("= 0.5", "nn.init.constant_({}, 0.5)"),
    ("= ones()", "nn.init.ones_({})"),
]
MATRIX_LINES = [
    ("~ xavier_uniform()", "nn.init.xavier_uniform_({})"),
    ("~ xavier_normal(gain=2)", "nn.init.xavier_normal_({}, gain=2)"),
    ("~ kaiming_uniform(a=sqrt(5))", "nn.init.kaiming_uniform_({}, a=math.sqrt(5))"),
    ("~ kaiming_normal(mode=fan_out, nonlinearity=relu)", "nn.init.kaiming_normal_({}, mode='fan_out', nonlinearity='relu')"),
    ("~ orthogonal(gain=2)", "nn.init.orthogonal_({}, gain=2)"),
]  # fmt: skip
EDIT_LINES = [
    ("*= 0.5", "{}.mul_(0.5)"),
    ("+= 1", "{}.add_(1)"),
    ("[0] = 3", "{}[0] = 3"),
    ("[:1] ~ normal(0, 0.1)", "nn.init.normal_({}[:1], 0, 0.1)"),
]


@st.composite
def by_hand(draw: Any) -> tuple[Any, str, str]:
    """A model's shape, rules, and code that does the same in the order of `net.apply`."""
    shape = draw(network_shapes)
    net = made(shape)
    fitting = Fitting(net)
    lines: dict[str, list[str]] = {name: [] for name in fitting.tensors}
    rules = []
    for name in draw(st.lists(st.sampled_from(sorted(lines) or [""]), max_size=8)):
        if not name:
            continue
        selector, names = draw(st.sampled_from(list(fitting.selectors(name))[:4]))
        edit = draw(st.integers(0, 3)) == 0 and ("(" not in selector)
        choices = EDIT_LINES if edit else LINES + MATRIX_LINES * fitting.fits(names, 2)
        right, line = draw(st.sampled_from(choices))
        rules.append(selector + ("" if right.startswith("[") else " ") + right)
        for one in names:
            lines[one] = [*(lines[one] if edit else []), line]
    order: list[nn.Module] = []
    net.apply(order.append)
    paths = {module: path for path, module in net.named_modules()}
    code = ["with torch.no_grad():", "    pass"]
    for module in order:
        for name, _ in module.named_parameters(recurse=False):
            path = paths[module]
            target = f"net.get_submodule({path!r}).{name}"
            code += ["    " + line.format(target) for line in lines[f"{path}.{name}" if path else name]]
    return shape, "\n".join(rules), "\n".join(code)


@law(350)
@given(by_hand())
def test_unseeded_equals_code_written_by_hand(written: tuple[Any, str, str]) -> None:
    import math

    shape, rules, code = written
    results = []
    for act in (
        lambda net: initdsl.apply(net, rules),
        lambda net: exec(code, {"net": net, "nn": nn, "torch": torch, "math": math}),
    ):
        net = made(shape)
        torch.default_generator.manual_seed(5)
        act(net)
        results.append((values(net), torch.random.get_rng_state().tolist()))
    assert results[0] == results[1], f"{rules}\n\n{code}"


# ---- the tools


@st.composite
def sloppy(draw: Any) -> Case:
    """A case with statements that fixes take away or write anew, some of its own twice."""
    case = draw(cases(most=5))
    fitting = Fitting(case.net())
    texts = [case.rules[0].text + "; let at = 0", *(rule.text for rule in case.rules[1:])]
    for _ in range(draw(st.integers(1, 5))):
        name = draw(st.sampled_from(sorted(fitting.tensors)))
        selector, _ = draw(st.sampled_from(list(fitting.selectors(name))))
        extra = draw(
            st.sampled_from([
                f"{selector} ~ zeros()", "let at = -1", f"{fitting.label(name)}[at] = 3", f"{fitting.label(name)}[at] ~ normal()", f"{selector} = 0", f"{selector} *= 1", f"{selector} += 0", f"{selector} ~ constant(2)",
                f"{fitting.label(name)}[0] = 3", "let let0 = 0.5", f"let unused{len(texts)} = 1", f"{fitting.label('')} {{ }}",
 f"{selector} ~ normal(0, 1)", f"{selector} ~ normal(std=0.5)", *texts[1:],
            ])
        )  # fmt: skip
        texts.insert(draw(st.integers(1, len(texts))), extra)
    return Case(case.shape, tuple(Rule(text) for text in texts))


def fixed_alike(case: Case, with_network: bool = False) -> int:
    """Lets safe fixes have their way; how many there were."""
    done = fixed("rules.init", case.text, Config(), network=against(case.net()) if with_network else None)
    net = case.net()
    before, after = initdsl.plan(net, case.text), initdsl.plan(net, done.text)
    assert after.tied == before.tied
    assert [(e.name, e.status) for e in after] == [(e.name, e.status) for e in before]
    assert filled(case, done.text) == filled(case)
    assert filled(case, done.text, seed=7) == filled(case, seed=7)
    return done.count


def test_safe_fixes_leave_the_plan() -> None:
    fixes: list[int] = []

    @law(200)
    @given(sloppy(), st.booleans())
    def holds(case: Case, with_network: bool) -> None:
        fixes.append(fixed_alike(case, with_network))

    holds()
    assert sum(fixes) >= len(fixes) / 2  # or nothing was tried


@pytest.mark.parametrize(
    "text",
    [
        "net.bias[0] ~ normal()\nnet.bias[0] ~ normal()",  # torch's generator moves by both
        "let x = 0\nnet.bias[x] = 3\nlet x = 1\nnet.bias[x] = 3",
        "let x = 0\nlet y = x\nnet.bias[y] = 3\nlet x = 1\nnet.bias[y] = 3",
        "let x = 2\nLinear(in_features=x).bias = 3\nlet x = 1\nLinear(in_features=x).bias? = 3",
        "let x = 2\nLinear(in_features=x) { .bias = 3 }\nlet x = 1\nLinear(in_features=x)? { .bias = 3 }",
        "let x = 3\nnet.weight as (x, -1)[0] = 3\nlet x = 2\nnet.weight as (x, -1)[0] = 3",
        "let True = 2\nnet.bias = True",
    ],
)
def test_what_fixes_have_changed_once(text: str) -> None:
    assert fixed_alike(Case("linear", (Rule(text),))) == 0


def test_a_bound_index_is_not_fixed_into_a_constant() -> None:
    assert fixed_alike(Case(("seq", ["linear", "linear"]), (Rule("net[True].weight = True"),))) == 0


@law(150)
@given(cases(), st.data())
def test_formatting_leaves_the_plan(case: Case, data: st.DataObject) -> None:
    text = case.text
    for plain, odd in (
        ("\n", "  # why\n\n\n"),
        ("\n", " ; \n"),
        (", ", ",\n   "),
        (" ~ ", "~"),
        (" = ", "  ="),
        ("{", "{ # b"),
        ("\n", "\r\n"),
    ):
        if data.draw(st.booleans()):
            text = text.replace(plain, odd)
    agree(case, format(text))
