"""The Python interface: reports, strictness, warnings, rule sets as values, plans that touch nothing."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

import initdsl
from initdsl.reports.table import rows_of
from tests.support.nets import Tensors, Tower, filled, mlp, named, names_of, same, snapshot
from tests.support.processes import LONGEST

SHIPPED = "Linear.weight ~ normal(0, 0.01)\nLinear.bias = 0\n"


def test_rules_as_text_path_string_and_rule_set(tmp_path: Path) -> None:
    file = tmp_path / "a.init"
    file.write_text(SHIPPED)
    results = []
    for rules in (SHIPPED, file, str(file), initdsl.parse(SHIPPED), initdsl.load(file)):
        net = mlp()
        torch.manual_seed(0)
        initdsl.apply(net, rules)
        results.append(net.state_dict())
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0].values(), other.values(), strict=True))


def test_an_entry_prints_as_the_rule_it_got(capsys: pytest.CaptureFixture[str]) -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    initdsl.apply(net, "Linear.weight ~ uniform(-10, 10); Linear.bias = 0", on_init=print)
    assert capsys.readouterr().out.splitlines() == [
        "Init net[0].weight [8, 4] ~ uniform(-10, 10)", "Init net[0].bias [8] = 0",
        "Init net[2].weight [2, 8] ~ uniform(-10, 10)", "Init net[2].bias [2] = 0",
    ]  # fmt: skip


def test_a_registered_function_that_announces() -> None:
    """The custom initializer of the documentation, as a function: uniform, then only large values stay."""
    said = []

    def my_init(tensor: torch.Tensor, low: float = -10, high: float = 10, cut: float = 5, *, generator=None) -> None:
        tensor.uniform_(low, high, generator=generator)
        tensor.mul_(tensor.abs() >= cut)

    net = mlp()
    torch.manual_seed(1)
    initdsl.apply(
        net,
        "Linear.weight ~ my_init(); net[2].weight ~ my_init(-1, 1, cut=0.5)",
        initializers={"my_init": my_init},
        on_init=lambda entry: said.append(str(entry).split(" ~")[0]),
    )
    other = mlp()
    torch.manual_seed(1)
    with torch.no_grad():
        for k, arguments in ((0, ()), (2, (-1, 1, 0.5)), (4, ())):
            my_init(other[k].weight, *arguments)
            assert torch.equal(net[k].weight, other[k].weight)
    assert said[0] == "Init net[0].weight [4, 4]"


class TestReport:
    @pytest.fixture
    def report(self) -> initdsl.Report:
        net = Tower()
        rules = "tie net.head.weight net.embed.weight\nEmbedding.weight ~ normal(0, 0.02)\nBlock.proj.weight[0] = 1\nkeep net.layers[0].norm\n\nBlock.attn.** = 0; Conv2d.weight = 1\nnet.scale = 1; net.scale *= 2"
        return initdsl.apply(net, rules)

    def test_entries(self, report: initdsl.Report) -> None:
        entry = report["embed.weight"]
        assert (entry.shape, entry.dtype, entry.numel) == ((6, 4), "float32", 24)
        assert set(entry.names) == {"embed.weight", "head.weight"}
        assert entry.statements == [("Embedding.weight ~ normal(0, 0.02)", "<rules>:2")]
        assert [s for s, _ in report["scale"].statements] == ["net.scale = 1", "net.scale *= 2"]
        assert all(place == "<rules>:7" for _, place in report["scale"].statements)
        assert len(list(report)) == len(report) == len({e.name for e in report})
        order = [n for n, _ in Tower().named_parameters()]
        assert [e.name for e in report] == [n for n in order if n in {e.name for e in report}]

    def test_what_is_left(self, report: initdsl.Report) -> None:
        assert report.unmatched == ["Conv2d"]
        assert report.tied == [("head.weight", "embed.weight")]
        assert set(report.partial) == {f"layers.{i}.proj.weight" for i in range(3)}
        uncovered = {f"layers.{i}.proj.bias" for i in range(3)} | {
            f"layers.{i}.norm.{p}" for i in (1, 2) for p in ("weight", "bias")
        }
        assert set(report.uncovered) == uncovered

    def test_to_dict_is_json_and_versioned(self, report: initdsl.Report) -> None:
        data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
        assert data["format"] == "initdsl-report"
        assert isinstance(data["version"], int)
        assert data["uncovered"] == report.uncovered
        assert {e["name"] for e in data["entries"]} >= {e.name for e in report}
        text = json.dumps(initdsl.plan(Tensors(w=torch.ones(2)), "net.w = inf").to_dict(), allow_nan=False)
        assert json.loads(text)["version"] == 1

    def test_text_and_html(self, report: initdsl.Report) -> None:
        text = str(report)
        for part in ("embed.weight", "normal(0, 0.02)", "<rules>:2", "uncovered", "tied"):
            assert part in text
        assert "7 uncovered (28 elements)" in text.splitlines()[-1]
        page = report._repr_html_()
        assert page.startswith("<table>")
        assert "&lt;rules&gt;:2" in page
        assert (
            "<script"
            not in initdsl.apply(Tensors(w=torch.ones(2)), 'let a = "<script>"\nnet.w = 1 # <script>')._repr_html_()
        )
        assert "Report" in repr(report)


def test_strict() -> None:
    net = filled(mlp())
    before = snapshot(net)
    for rules, label in (
        ("Linear.weight = 0", "net[0].bias"),
        ("*.* = 0; net[0].weight = 1; tie net[0] net[2]", None),
        ("Linear.bias = 0; Linear.weight[0] = 1", "net[0].weight"),
    ):
        if label is None:
            continue
        with pytest.raises(initdsl.ResolveError) as caught:
            initdsl.apply(net, rules, strict=True)
        assert set(names_of(caught.value)) == {"uncovered-parameter"}
        assert label in str(caught.value)
        same(before, snapshot(net))
    initdsl.apply(net, "Linear.weight = 0; keep Linear.bias", strict=True)
    initdsl.apply(net, "default net", strict=True)


def test_warnings_have_their_own_classes_and_point_at_the_caller() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        initdsl.apply(mlp(), "Linear.weight = 0; Conv2d.weight = 1")
    assert {w.category for w in seen} == {initdsl.UnmatchedRuleWarning, initdsl.UncoveredParameterWarning}
    assert {w.filename for w in seen} == {__file__}
    assert any("3 parameters" in str(w.message) for w in seen)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        initdsl.apply(mlp(), "*.* = 0")


def test_a_plan_touches_nothing_and_works_on_meta() -> None:
    net = Tower()
    before = snapshot(net)
    plan = initdsl.plan(net, "*.*(ndim>=2) ~ xavier_uniform(); tie net.head.weight net.embed.weight; default LayerNorm")
    same(before, snapshot(net))
    with torch.device("meta"):
        ghost = Tower()
    twin = initdsl.plan(
        ghost, "*.*(ndim>=2) ~ xavier_uniform(); tie net.head.weight net.embed.weight; default LayerNorm"
    )
    assert str(plan) == str(twin)
    torch.manual_seed(4)
    report = plan.apply()
    assert net.head.weight is net.embed.weight
    assert len(report) > 0


def test_a_described_network_can_be_planned_not_filled() -> None:
    network, _ = initdsl.describe(Tower())
    again = initdsl.Network.from_manifest(json.loads(json.dumps(network.to_manifest())))
    rules = "*.*(ndim>=2) ~ xavier_uniform(); net.layers[i].proj.bias = i; Embedding.weight[padding_idx] = 0"
    assert str(initdsl.plan(again, rules)) == str(initdsl.plan(Tower(), rules))
    with pytest.raises(initdsl.ResolveError):
        initdsl.plan(again, rules).apply()
    with pytest.raises(TypeError):
        initdsl.apply(again, rules)  # type: ignore[arg-type]


class TestRuleSets:
    TEXT = """
    let s = 0.02
    (Linear(bias, groups>1)+.weight, net.a["x y"].b[0, ..., ::2]) in (Block, /a.b/) ~ normal(0, s) * 2 + index(0)
    net[i].w as (4, -1)[*] = [[1, 2], [3, 4]]
    tie net.a net.b; copy net.c net.d; keep *.bias?; default net.e
    Block { .x = it[0]; LayerNorm { .bias += len(net.layers) } }
    """

    def test_pickle_copy_json(self) -> None:
        rules = initdsl.parse(self.TEXT)
        for other in (
            pickle.loads(pickle.dumps(rules)),
            copy.deepcopy(rules),
            initdsl.RuleSet.model_validate_json(rules.model_dump_json()),
        ):
            assert other == rules
            assert hash(other) == hash(rules)
            assert [r.source for r in other.walk()] == [r.source for r in rules.walk()]
        assert initdsl.RuleSet.model_json_schema()["properties"]["rules"]
        assert len(rules) == 8

    def test_equal_where_they_stand_differently(self) -> None:
        assert initdsl.parse("a.b=1") == initdsl.parse("# x\na.b  =  1 # y")
        assert initdsl.parse("a.b=1") != initdsl.parse("a.b=2")

    def test_pickled_rules_apply_many_times(self) -> None:
        rules = pickle.loads(pickle.dumps(initdsl.parse(SHIPPED)))
        first, second = mlp(), mlp(8)
        for net in (first, second, first):
            torch.manual_seed(0)
            report = initdsl.apply(net, rules)
            assert report["0.weight"].statements[0][1] == "<rules>:1"
        assert first[0].weight.abs().max() < 0.1

    def test_in_a_child_process_without_torch(self) -> None:
        code = "import sys, initdsl, pickle; r = initdsl.parse('a.b = 1'); pickle.loads(pickle.dumps(r)); initdsl.format('a.b=1'); assert 'torch' not in sys.modules"
        subprocess.run([sys.executable, "-c", code], check=True, timeout=LONGEST)


def test_registered_initializers() -> None:
    @initdsl.initializer
    def test_api_shift(tensor: torch.Tensor, by: float = 1.0, mode: str = "up") -> None:
        """Shift."""
        tensor.fill_(by if mode == "up" else -by)

    net = mlp()
    initdsl.apply(net, 'Linear.weight = test_api_shift(3); Linear.bias = test_api_shift(by=2, mode="down")')
    assert (net[0].weight == 3).all()
    assert (net[0].bias == -2).all()
    for rules, name in (
        ("Linear.weight ~ test_api_shift()", None),
        ("Linear.weight = test_api_shift(bz=1)", "unknown-argument"),
        ('Linear.weight = test_api_shift("a")', "bad-argument"),
    ):
        if name is None:
            initdsl.apply(net, rules)  # deterministic after `~`: accepted, and the linter speaks of it
            continue
        with pytest.raises(initdsl.RuleError) as caught:
            initdsl.apply(net, rules)
        assert names_of(caught.value) == [name]
    with pytest.raises(ValueError, match="built-in"):
        initdsl.initializer(name="normal")(lambda tensor: None)
    with pytest.raises(ValueError, match="built-in"):
        initdsl.apply(net, "Linear.weight = 0", initializers={"normal": lambda tensor: None})
    with pytest.raises(TypeError):
        initdsl.initializer(lambda: None)


def test_a_function_may_return_a_tensor() -> None:
    net = mlp()
    initdsl.apply(
        net,
        "Linear.weight = made(); net[2].weight[1:3] = made(); net[4].weight as (2, -1)[0] = made()",
        initializers={"made": lambda tensor: torch.full_like(tensor, float(tensor.numel()))},
    )
    assert (net[0].weight == 16).all()
    assert (net[2].weight[1:3] == 8).all()
    assert (net[4].weight.reshape(2, 8)[0] == 8).all()


def test_explain_names_the_winner_and_why() -> None:
    plan = initdsl.plan(
        mlp(), "Linear.weight ~ normal(0, 1)\nnet[0].weight = 1\nnet[0].weight[0] = 2\nnet[2].weight = 3"
    )
    said = plan.explain("0.weight")
    assert [t.role for t in said.touches] == ["overridden", "base", "slice"]
    assert "<rules>:2" in said.touches[0].reason
    assert plan.explain("net[0].weight").to_dict() == said.to_dict()
    assert "no rule reaches it" in str(plan.explain("0.bias"))
    with pytest.raises(KeyError, match="did you mean"):
        plan.explain("0.wieght")
    with pytest.raises(KeyError, match=r"`0` is a module, whose parameters are `0.weight`, `0.bias`"):
        plan.explain("0")
    with pytest.raises(
        KeyError, match=r"`net\[0\]` is a module, whose parameters are `net\[0\].weight`, `net\[0\].bias`"
    ):
        plan.explain("net[0]")


def test_explain_takes_the_name_of_each_line_of_a_plan() -> None:
    net = nn.ModuleDict({"layers": nn.ModuleList(nn.Linear(4, 4) for _ in range(3)), "head": nn.Linear(4, 4)})
    plan = initdsl.plan(net, "Linear.weight ~ normal(0, 1)\ntie net.head.bias net.layers[0].bias")
    lines = [row.cells[0] for row in rows_of(plan, group=True)]
    assert {"layers.{0..2}.weight x3", "layers.0.bias (= head.bias)"} <= set(lines)
    for line in lines:
        assert plan.explain(line).entry.name.split(".")[0] == line.split(".")[0]
    said = plan.explain("layers.{0..2}.weight")
    assert said.alike == ("layers.1.weight", "layers.2.weight")
    assert plan.explain("layers.{0..2}.weight x3") == said
    assert said.touches == plan.explain("layers.0.weight").touches
    assert said.to_dict()["alike"] == list(said.alike)
    assert "`layers.1.weight`, `layers.2.weight`" in str(said)
    with pytest.raises(KeyError, match=r"did you mean `layers.\{0..2\}.weight`"):
        plan.explain("layers.{0..1}.weight")


def test_gradient_modes_do_not_matter() -> None:
    for mode in (torch.no_grad, torch.enable_grad, torch.inference_mode):
        net = mlp()
        with mode():
            initdsl.apply(net, "Linear.weight ~ normal(); Linear.weight *= 2; Linear.bias = sum(weight)")
        assert all(p.requires_grad and p.grad_fn is None and p.is_leaf for p in net.parameters())
        net(torch.ones(1, 4)).sum().backward()
        assert all(p.grad is not None for p in net.parameters())


def test_a_net_of_nothing() -> None:
    for net in (nn.ReLU(), nn.Sequential(), nn.ModuleDict()):
        report = initdsl.apply(net, "Linear.weight? = 0")
        assert len(report) == 0
        assert named(net) == {}
        str(report)
