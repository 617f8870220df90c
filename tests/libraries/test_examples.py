"""The numbered examples do what they say: each beside the torch code one would have written by hand."""

from __future__ import annotations

import copy
import importlib.util
import io
import itertools
import sys
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

import initdsl
from initdsl.filling.execute import execute
from tests.planning.test_values import refuse_look_ups

EXAMPLES = Path(__file__).parents[2] / "examples"
NUMBERED = sorted(path.stem for path in EXAMPLES.glob("[0-9][0-9]_*.py"))


def example(name: str) -> ModuleType:
    """An example's script as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def same(ours: nn.Module, theirs: nn.Module) -> None:
    """Every parameter and buffer bit for bit."""
    left, right = ours.state_dict(), theirs.state_dict()
    assert list(left) == list(right)
    for name in left:
        assert left[name].dtype == right[name].dtype
        assert torch.equal(left[name], right[name]), name


def linear_init(std: float):
    """The function one would hand to `net.apply`."""

    def init(module: nn.Module) -> None:
        if type(module) is nn.Linear:
            nn.init.normal_(module.weight, 0, std)
            nn.init.zeros_(module.bias)

    return init


# ---- every script runs, and says what it is there to say


def test_every_point_has_its_example() -> None:
    assert [name[:2] for name in NUMBERED] == ["01", "02", "03", "04", "05", "06", "07"]


@pytest.mark.parametrize("name", NUMBERED)
def test_the_script_runs(name: str) -> None:
    out = io.StringIO()
    state = torch.get_rng_state()
    with redirect_stdout(out), warnings.catch_warnings():
        warnings.simplefilter("ignore", initdsl.UncoveredParameterWarning)
        example(name).main()
    torch.set_rng_state(state)
    expected = {
        "01": ["back at the default: 32 different", "no rule reaches 2.bias - unchanged: True"],
        "02": ["constant: tensor([1., 1., 1., 1.]) tensor(0.)"],
        "03": ["~ xavier_uniform()", "net[2][3].weight[0] = tensor([42., 42."],
        "04": ["Init net[0].weight [8, 4] ~ uniform(-10, 10)", "Init net[0].weight [8, 4] ~ far_from_zero("],
        "05": ["after:  tensor([42.0000,"],
        "06": ["the same object: True", "shows in the other: 100.0", "head and embedding are one: True"],
        "07": ["net[4].weight[0] = tensor([42., 42."],
    }
    for text in expected[name[:2]]:
        assert text in out.getvalue()


def test_the_demo_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    out = io.StringIO()
    state = torch.get_rng_state()
    with redirect_stdout(out), warnings.catch_warnings():
        example("demo").main()
    torch.set_rng_state(state)
    lines = out.getvalue().splitlines()
    assert "def by_hand(net: GPT) -> None:" in lines
    assert "same bits: True" in lines
    page = next(Path(line.partition(": ")[2]) for line in lines if line.startswith("the same as a page: "))
    assert page.read_text("utf-8").startswith("<!doctype html>")
    good, bad = ([line for line in lines if line.startswith(word)] for word in ("good, ", "bad, "))
    assert good
    assert all("keep their size" in line for line in good)
    assert any("gradients grow" in line for line in bad)


def test_the_demo_is_the_code_that_it_shows() -> None:
    script = example("demo")
    ours, theirs = script.GPT(), script.GPT()
    torch.manual_seed(12)
    script.by_hand(theirs)
    torch.manual_seed(12)
    initdsl.apply(ours, EXAMPLES / "demo.init", strict=True)
    same(ours, theirs)
    assert script.same_bits(EXAMPLES / "demo.init")
    assert theirs.head.weight is theirs.embed.weight


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.init")), ids=lambda p: p.stem)
def test_the_rule_file_is_in_the_canonical_layout(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert initdsl.format(text) == text


def test_the_rule_files_have_no_findings() -> None:
    findings = [found for path in EXAMPLES.rglob("*.init") for found in initdsl.lint(path)]
    assert [found.render() for found in findings] == []


# ---- 1: defaults


def test_where_no_rule_speaks_nothing_changes_and_default_is_reset_parameters() -> None:
    script = example("01_defaults")
    torch.manual_seed(1)
    ours = script.network()
    theirs = copy.deepcopy(ours)
    nn.init.ones_(ours[0].weight)
    torch.manual_seed(7)
    report = initdsl.apply(ours, script.RULES)
    torch.manual_seed(7)
    theirs[0].reset_parameters()
    nn.init.normal_(theirs[2].weight, 0, 0.01)
    same(ours, theirs)
    assert report.uncovered == ["2.bias"]


def zoo() -> nn.ModuleDict:
    return nn.ModuleDict({
        "linear": nn.Linear(5, 7), "conv": nn.Conv2d(3, 4, 3), "transposed": nn.ConvTranspose1d(4, 2, 3),
        "embed": nn.Embedding(9, 4, padding_idx=2), "norm": nn.BatchNorm2d(4), "layer_norm": nn.LayerNorm(6),
        "rms": nn.RMSNorm(6), "lstm": nn.LSTM(3, 5, num_layers=2, bidirectional=True), "gru": nn.GRUCell(3, 4),
        "attention": nn.MultiheadAttention(8, 2), "separate": nn.MultiheadAttention(8, 2, kdim=4, vdim=6),
        "prelu": nn.PReLU(), "bilinear": nn.Bilinear(3, 4, 5), "no_bias": nn.Linear(4, 4, bias=False),
        "block": nn.TransformerEncoderLayer(8, 2, 16), "transformer": nn.Transformer(8, 2, 1, 1, 16),
    })  # fmt: skip


def reset(module: nn.Module) -> None:
    for name in ("reset_parameters", "_reset_parameters"):
        if hasattr(module, name):
            getattr(module, name)()
            return


def test_default_of_a_whole_network_is_the_reset_of_every_module_in_the_order_of_apply() -> None:
    ours = zoo()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.fill_(3)
        for buffer in ours.buffers():
            buffer.fill_(3)
    theirs = copy.deepcopy(ours)
    torch.manual_seed(3)
    report = initdsl.apply(ours, "default net", strict=True)
    torch.manual_seed(3)
    theirs.apply(reset)
    same(ours, theirs)
    assert report.uncovered == []
    assert not any((p == 3).all() for p in ours.parameters())


def test_default_of_one_parameter_leaves_its_neighbours() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    nn.init.ones_(net[0].weight)
    nn.init.ones_(net[0].bias)
    initdsl.apply(net, "default net[0].weight")
    assert (net[0].weight.abs() <= 0.5).all()
    assert net[0].weight.unique().numel() == 32
    assert (net[0].bias == 1).all()


# ---- 2: by type


def test_by_type_is_net_apply_bit_for_bit() -> None:
    script = example("02_by_type")
    ours = script.network()
    theirs = copy.deepcopy(ours)
    torch.manual_seed(5)
    initdsl.apply(ours, script.RULES, strict=True)
    torch.manual_seed(5)
    theirs.apply(linear_init(0.01))
    same(ours, theirs)
    assert (ours[0].bias == 0).all()


def test_by_type_takes_exactly_the_class() -> None:
    class Special(nn.Linear):
        pass

    net = nn.Sequential(nn.Linear(3, 3), Special(3, 3), nn.Sequential(nn.Linear(3, 3)))
    before = net[1].weight.detach().clone()
    initdsl.apply(net, "Linear.weight = 1")
    assert (net[0].weight == 1).all()
    assert torch.equal(net[1].weight, before)
    assert (net[2][0].weight == 1).all()
    initdsl.apply(net, "Linear+.weight = 2")
    assert (net[1].weight == 2).all()


def test_all_ones_can_be_looked_at() -> None:
    script = example("02_by_type")
    net = script.network()
    initdsl.apply(net, script.ALL_ONES, strict=True)
    assert net[0].weight.data[0].tolist() == [1, 1, 1, 1]
    assert net[0].bias.data[0].item() == 0
    assert all((layer.weight == 1).all() and (layer.bias == 0).all() for layer in (net[0], net[2]))


# ---- 3: blocks


def test_blocks_reach_the_linear_layers_inside_each_and_nothing_else() -> None:
    script = example("03_blocks")
    ours = script.network()
    theirs = copy.deepcopy(ours)

    def xavier(module: nn.Module) -> None:
        if type(module) is nn.Linear:
            nn.init.xavier_uniform_(module.weight)

    def forty_two(module: nn.Module) -> None:
        if type(module) is nn.Linear:
            nn.init.constant_(module.weight, 42)

    torch.manual_seed(11)
    initdsl.apply(ours, script.RULES)
    torch.manual_seed(11)
    theirs[0].apply(xavier)
    theirs[2].apply(forty_two)
    same(ours, theirs)


# ---- 4: an initializer of one's own


def announce_and_draw(said: list[str]):
    def init(module: nn.Module) -> None:
        if type(module) is nn.Linear:
            said.append(f"Init {list(module.weight.shape)}")
            nn.init.uniform_(module.weight, -10, 10)
            module.weight.data *= module.weight.data.abs() >= 5
            nn.init.zeros_(module.bias)

    return init


@pytest.mark.parametrize("python", [False, True])
def test_custom_initializer_both_ways(python: bool, capsys: pytest.CaptureFixture[str]) -> None:
    script = example("04_custom")
    ours = script.network()
    theirs = copy.deepcopy(ours)
    torch.manual_seed(2)
    initdsl.apply(ours, script.PYTHON_RULES if python else script.RULES, on_init=print, strict=True)
    said: list[str] = []
    torch.manual_seed(2)
    theirs.apply(announce_and_draw(said))
    same(ours, theirs)
    lines = capsys.readouterr().out.splitlines()
    weights = [line for line in lines if ".weight " in line]
    assert [line.split(" ~")[0] for line in weights] == ["Init net[0].weight [8, 4]", "Init net[2].weight [1, 8]"]
    assert said == ["Init [8, 4]", "Init [1, 8]"]
    magnitudes = ours[0].weight.abs()
    assert ((magnitudes == 0) | (magnitudes >= 5)).all()
    assert (magnitudes <= 10).all()
    assert (magnitudes > 0).any()


def test_custom_function_handed_over_and_seeded() -> None:
    def my_init(tensor, low=-10, high=10, cut=5, *, generator=None):
        tensor.uniform_(low, high, generator=generator)
        tensor.mul_(tensor.abs() >= cut)

    nets = [nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)) for _ in range(2)]
    state = torch.get_rng_state()
    for net in nets:
        initdsl.apply(net, "Linear.weight ~ my_init(cut=9)", initializers={"my_init": my_init}, seed=3)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(nets[0][0].weight, nets[1][0].weight)
    kept = nets[0][0].weight[nets[0][0].weight != 0].abs()
    assert (kept >= 9).all()


# ---- 5: values set directly


def test_direct_setting() -> None:
    script = example("05_direct")
    ours = script.network()
    theirs = copy.deepcopy(ours)
    initdsl.apply(ours, script.RULES)
    with torch.no_grad():
        theirs[0].weight[:] += 1
        theirs[0].weight[0, 0] = 42
    same(ours, theirs)
    assert ours[0].weight[0, 0].item() == 42


# ---- 6 and 7: ties


def tied_by_hand(net: nn.Sequential) -> nn.Sequential:
    """What one writes in torch: one layer's parameters given to the other."""
    net[4].weight = net[2].weight
    net[4].bias = net[2].bias
    return net


def fill_once(net: nn.Module, std: float) -> None:
    """`net.apply`, with a shared parameter drawn once."""
    done: set[int] = set()
    for module in net.modules():
        if type(module) is nn.Linear and id(module.weight) not in done:
            done.add(id(module.weight))
            nn.init.normal_(module.weight, 0, std)
            nn.init.zeros_(module.bias)


def test_tying_layers_is_the_assignment_of_the_parameter() -> None:
    script = example("06_tying")
    ours = script.network()
    theirs = tied_by_hand(copy.deepcopy(ours))
    kept = (ours[2].weight, ours[2].bias)
    torch.manual_seed(4)
    report = initdsl.apply(ours, script.RULES, strict=True)
    torch.manual_seed(4)
    fill_once(theirs, 0.02)
    same(ours, theirs)
    assert ours[2].weight is ours[4].weight is kept[0]
    assert ours[2].bias is ours[4].bias is kept[1]
    assert report.tied == [("2.weight", "4.weight"), ("2.bias", "4.bias")]
    assert len(list(ours.parameters())) == len(list(theirs.parameters())) == 6


def optimizers():
    return [
        pytest.param(lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9), id="sgd"),
        pytest.param(lambda parameters: torch.optim.Adam(parameters, lr=0.01), id="adam"),
    ]


def train(net: nn.Module, optimizer_of, steps: int = 3) -> None:
    optimizer = optimizer_of(net.parameters())
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        optimizer.zero_grad()
        x = torch.randn(16, 4, generator=generator)
        (net(x) - x.sum(1, keepdim=True)).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("optimizer_of", optimizers())
@pytest.mark.parametrize("number", ["06_tying", "07_one_line"])
def test_a_tie_survives_training_and_trains_as_the_hand_made_one(number: str, optimizer_of) -> None:
    script = example(number)
    torch.manual_seed(6)
    ours = script.network()
    initdsl.apply(ours, script.RULES)
    theirs = tied_by_hand(copy.deepcopy(ours))
    before = ours[2].weight.detach().clone()
    train(ours, optimizer_of)
    train(theirs, optimizer_of)
    assert ours[2].weight is ours[4].weight
    assert not torch.equal(ours[2].weight, before)
    same(ours, theirs)


def test_a_tie_survives_state_dict_and_deepcopy() -> None:
    script = example("06_tying")
    net = script.network()
    initdsl.apply(net, script.RULES)
    twin = copy.deepcopy(net)
    assert twin[2].weight is twin[4].weight
    assert twin[2].weight is not net[2].weight

    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    values = torch.load(file, weights_only=True)
    assert values["2.weight"].data_ptr() == values["4.weight"].data_ptr()
    fresh = script.network()
    initdsl.apply(fresh, "tie net[2] net[4]")
    fresh.load_state_dict(values)
    assert fresh[2].weight is fresh[4].weight
    same(fresh, net)
    with torch.no_grad():
        fresh[4].weight[1, 1] = -7
    assert fresh[2].weight[1, 1].item() == -7


def test_tying_several() -> None:
    net = nn.Sequential(*(nn.Linear(3, 3) for _ in range(5)))
    first = net[0].weight
    initdsl.apply(net, "tie net[0] net[1] net[3]; Linear.weight ~ normal(0, 1)")
    assert net[0].weight is net[1].weight is net[3].weight is first
    assert net[0].bias is net[3].bias
    assert net[2].weight is not net[0].weight
    every = nn.Sequential(*(nn.Linear(3, 3) for _ in range(5)))
    initdsl.apply(every, "tie net[*]")
    assert len({id(layer.weight) for layer in every}) == 1
    assert len(list(every.parameters())) == 2


def test_tying_one_parameter() -> None:
    script = example("06_tying")
    model = script.LanguageModel()
    theirs = copy.deepcopy(model)
    torch.manual_seed(8)
    initdsl.apply(model, script.EMBEDDING_RULES, strict=True)
    assert model.head.weight is model.embed.weight
    torch.manual_seed(8)
    nn.init.normal_(theirs.embed.weight, 0, 0.02)
    nn.init.zeros_(theirs.head.bias)
    theirs.head.weight = theirs.embed.weight
    same(model, theirs)


def test_ties_pair_up_by_a_bound_index() -> None:
    net = nn.ModuleDict({side: nn.ModuleList(nn.Linear(3, 3) for _ in range(3)) for side in ("enc", "dec")})
    initdsl.apply(net, "tie net.enc[i].weight net.dec[i].weight")
    for i, j in itertools.product(range(3), repeat=2):
        assert (net["enc"][i].weight is net["dec"][j].weight) == (i == j)
    assert net["enc"][0].bias is not net["dec"][0].bias


def test_nets_that_are_tied_already() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    torch.manual_seed(9)
    report = initdsl.apply(net, "Linear.weight ~ normal(0, 1); tie net[1].weight net[2].weight")
    assert net[0].weight is net[1].weight is net[2].weight
    torch.manual_seed(9)
    assert torch.equal(net[0].weight, torch.empty(3, 3).normal_(0, 1))
    assert report["0.weight"].names == ["0.weight", "1.weight", "2.weight"]
    again = initdsl.apply(net, "tie net[0].weight net[1].weight; net[2].weight = 3")
    assert (net[0].weight == 3).all()
    assert again.tied[0][:2] == ("0.weight", "1.weight")


def test_three_rules_on_one_line() -> None:
    script = example("07_one_line")
    assert "\n" not in script.RULES
    ours = script.network()
    theirs = copy.deepcopy(ours)
    torch.manual_seed(10)
    initdsl.apply(ours, script.RULES)
    torch.manual_seed(10)
    nn.init.normal_(theirs[0].weight, 0, 0.01)
    nn.init.normal_(theirs[6].weight, 0, 0.01)  # net[2].weight loses its draw to the later rule
    nn.init.constant_(theirs[2].weight, 42)
    tied_by_hand(theirs)
    same(ours, theirs)
    assert ours[2].weight is ours[4].weight
    assert (ours[4].weight == 42).all()


@pytest.mark.parametrize("name", NUMBERED)
def test_the_script_looks_nothing_up_while_it_fills(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan alone decides: neither a name nor a selector of an example is looked up once tensors are written."""
    fills = []
    importlib.import_module("initdsl.api.apply")  # now: what is imported first below would keep the guard

    def guarded(*args: Any, **options: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            refuse_look_ups(patch)
            execute(*args, **options)
        fills.append(name)

    for module in [module for key, module in sys.modules.items() if key.startswith("initdsl.")]:
        if module.__dict__.get("execute") is execute:
            monkeypatch.setattr(module, "execute", guarded)
    state = torch.get_rng_state()
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", initdsl.UncoveredParameterWarning)
        example(name).main()
    torch.set_rng_state(state)
    assert fills
