"""`default` of modules whose own reset does not set all that they have: said as an error, whichever way the model is filled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import initdsl
from tests.support.streamed import tensors

SEEDS = [None, 0]


class Module(nn.Module):
    """One parameter that the reset sets, and one that the subclass sets or doesn't."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.full((3,), 5.0))
        self.b = nn.Parameter(torch.full((3, 2), 7.0))

    def reset_parameters(self) -> None:
        nn.init.normal_(self.a)
        self.reset_b()

    def reset_b(self) -> None:
        raise NotImplementedError


class Forgets(Module):
    def reset_b(self) -> None:
        torch.zeros(3, 2)  # the result is dropped


class SetsAnother(Module):
    def reset_b(self) -> None:
        self.b.detach().clone().fill_(1)


class SetsRows(Module):
    def reset_b(self) -> None:
        self.b.data[1:].fill_(1)


class AsksFirst(Module):
    """It looks at what is there, and does nothing."""

    def reset_b(self) -> None:
        if bool(self.b.isnan().any()):
            raise ValueError("it holds nan")


LEFT = [Forgets, SetsAnother, SetsRows, AsksFirst]


class ThroughData(Module):
    def reset_b(self) -> None:
        self.b.data.fill_(1)


class ThroughNumpy(Module):
    def reset_b(self) -> None:
        self.b.data.numpy()[:] = 1


class InPlaceOfIt(Module):
    def reset_b(self) -> None:
        self.b = nn.Parameter(torch.ones(3, 2))


class OtherMemory(Module):
    def reset_b(self) -> None:
        self.b.data = torch.ones(3, 2)


SET = [ThroughData, ThroughNumpy, InPlaceOfIt, OtherMemory]


class Scales(Module):
    """It builds on what is there."""

    def reset_b(self) -> None:
        self.b.data.mul_(2)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("cls", LEFT)
def test_what_a_reset_leaves_is_refused_with_nothing_changed(cls: type[Module], seed: int | None) -> None:
    net = nn.Sequential(cls(), nn.Linear(2, 2))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    with pytest.raises(initdsl.ApplyError, match=r"leaves these unset: `net\[0\].b`") as caught:
        initdsl.apply(net, f"net[1].* ~ uniform(); default {cls.__name__}", seed=seed)
    assert caught.value.diagnostics[0].name == "no-default"
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("cls", SET)
def test_a_parameter_is_set_whichever_way_that_is_written(cls: type[Module], seed: int | None) -> None:
    net = nn.Sequential(cls())
    held = net[0].b
    initdsl.apply(net, "default net", seed=seed)
    assert net[0].b is held
    assert held.tolist() == [[1, 1]] * 3
    if cls is not InPlaceOfIt:
        assert initdsl.materialize(lambda: nn.Sequential(cls()), "default net", seed=seed)[0].b.tolist() == [[1, 1]] * 3


def test_a_reset_draws_what_it_draws_by_hand() -> None:
    for cls in (*SET, Scales):
        nets = [nn.Sequential(cls(), cls()) for _ in range(2)]
        torch.manual_seed(1)
        for module in nets[0]:
            module.reset_parameters()
        torch.manual_seed(1)
        initdsl.apply(nets[1], "default net")
        assert torch.equal(nets[0][0].a, nets[1][0].a)
        assert torch.equal(nets[0][1].a, nets[1][1].a)
        assert torch.equal(nets[0][1].b, nets[1][1].b)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_there_may_be_built_on(seed: int | None) -> None:
    net = nn.Sequential(Scales())
    initdsl.apply(net, "default net", seed=seed)
    assert net[0].b.tolist() == [[14, 14]] * 3


@pytest.mark.parametrize("seed", SEEDS)
def test_rules_may_set_what_a_reset_leaves(seed: int | None) -> None:
    net = nn.Sequential(SetsRows())
    initdsl.apply(net, "default net; net[0].b[0] = 3", seed=seed)
    assert net[0].b.tolist() == [[3, 3], [1, 1], [1, 1]]
    net = nn.Sequential(Forgets())
    initdsl.apply(net, "default net; net[0].b = 3", seed=seed)
    assert net[0].b.tolist() == [[3, 3]] * 3
    for edit in ("net[0].b *= 2", "net[0].b[1] = 2"):
        with pytest.raises(initdsl.ApplyError, match="no-default"):
            initdsl.apply(net, f"default net; {edit}", seed=seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_another_reset_may_set_it(seed: int | None) -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Forgets()
            self.c = nn.Parameter(torch.zeros(1))

        def reset_parameters(self) -> None:
            nn.init.ones_(self.c)
            nn.init.ones_(self.inner.b)

    net = Outer()
    initdsl.apply(net, "default net", seed=seed)
    assert net.inner.b.tolist() == [[1, 1]] * 3
    initdsl.apply(nn.ModuleList([nn.MultiheadAttention(4, 2), nn.Transformer(4, 2, 1, 1, 4)]), "default net", seed=seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_parameter_added_to_one_of_torchs_modules_is_not_set_by_its_reset(seed: int | None) -> None:
    net = nn.Linear(2, 2)
    net.scale = nn.Parameter(torch.ones(2))
    with pytest.raises(initdsl.ApplyError, match=r"unset: `net\.scale`"):
        initdsl.apply(net, "default net", seed=seed)


def test_a_reset_that_gives_a_parameter_another_shape_is_refused() -> None:
    class Grows(Module):
        def reset_b(self) -> None:
            self.b = nn.Parameter(torch.ones(4, 2))

    net = Grows()
    with pytest.raises(initdsl.ApplyError, match=r"another shape: \[4, 2\], not \[3, 2\]"):
        initdsl.apply(net, "default net")
    assert net.b.shape == (3, 2)


@pytest.mark.parametrize("cls", LEFT[:3])
def test_so_do_streams_and_functions_of_one_module(cls: Callable[[], Module], tmp_path: Path) -> None:
    for network in (cls, cls()):
        with pytest.raises((initdsl.ApplyError, initdsl.ResolveError), match="no-default"):
            initdsl.stream(network, "default net", tmp_path / "out", seed=0)  # type: ignore[arg-type]
    net = nn.Sequential(cls())
    with pytest.raises(initdsl.ApplyError, match="no-default"):
        net.apply(initdsl.parse("default net").as_init_fn(net, seed=0))


def test_an_expanded_parameter_is_left_to_its_reset() -> None:
    class Expanded(Module):
        def __init__(self) -> None:
            super().__init__()
            self.b = nn.Parameter(torch.ones(1, 2).expand(3, 2))

        def reset_b(self) -> None:
            self.b[0].fill_(3)

    net = Expanded()
    initdsl.apply(net, "default net")
    assert net.b.tolist() == [[3, 3]] * 3


# ---- what can't hold nan

WHOLE = [torch.bool, torch.uint8, torch.int8, torch.int64, torch.uint16]


class Whole(nn.Module):
    """A parameter of a dtype that has no nan, and a reset that does something with it."""

    def __init__(self, dtype: torch.dtype, reset: Callable[[torch.Tensor], object]) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.full((3,), 5.0))
        self.w = nn.Parameter(torch.ones(3, 2).to(dtype), requires_grad=False)
        self.reset_w = reset

    def reset_parameters(self) -> None:
        nn.init.normal_(self.a)
        self.reset_w(self.w.data)


def fill(way: str, factory: Callable[[], nn.Module], rules: str, seed: int | None, folder: Path) -> nn.Module:
    """Fill what a factory builds, in one of three ways, and return it."""
    if way == "materialize":
        return initdsl.materialize(factory, rules, seed=seed)
    if way == "stream":
        initdsl.stream(factory, rules, folder / "out", seed=seed or 0)
        net = factory()
        net.load_state_dict(tensors(folder / "out"))
        return net
    net = factory()
    initdsl.apply(net, rules, seed=seed)
    return net


WAYS = ["apply", "materialize", "stream"]
# an integer parameter is frozen
frozen = pytest.mark.filterwarnings("ignore::initdsl.RedrawnParameterWarning")


@frozen
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", WHOLE)
def test_whole_numbers_and_truth_values_are_found_too(
    dtype: torch.dtype, way: str, seed: int | None, tmp_path: Path
) -> None:
    def forgets(weight: torch.Tensor) -> None:
        weight.clone().fill_(0)

    def sets_rows(weight: torch.Tensor) -> None:
        weight[1:].fill_(1)

    for reset in (forgets, sets_rows):
        with pytest.raises(initdsl.ApplyError, match=r"leaves these unset: `net\.w`"):
            fill(way, lambda reset=reset: Whole(dtype, reset), "default net", seed, tmp_path)  # type: ignore[misc]
    set_by_rule = "default net; net.w[0] = 0"
    assert fill(way, lambda: Whole(dtype, sets_rows), set_by_rule, seed, tmp_path).w.tolist() == [
        [0, 0],
        [1, 1],
        [1, 1],
    ]


@frozen
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("dtype", WHOLE)
def test_any_whole_number_may_be_set(
    dtype: torch.dtype, value: int, way: str, seed: int | None, tmp_path: Path
) -> None:
    net = fill(way, lambda: Whole(dtype, lambda weight: weight.fill_(value)), "default net", seed, tmp_path)
    assert net.w.tolist() == [[value, value]] * 3


@frozen
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dtype", [torch.bool, torch.int8, torch.int64])
def test_whole_numbers_that_are_there_may_be_built_on(dtype: torch.dtype, seed: int | None, tmp_path: Path) -> None:
    def turns(weight: torch.Tensor) -> None:
        weight.copy_(1 - weight.long())

    assert fill("apply", lambda: Whole(dtype, turns), "default net", seed, tmp_path).w.tolist() == [[0, 0]] * 3
    for way in ("materialize", "stream"):  # nothing is there
        with pytest.raises(initdsl.ApplyError, match=r"unset: `net\.w`"):
            fill(way, lambda: Whole(dtype, turns), "default net", seed, tmp_path)


@frozen
def test_a_reset_draws_whole_numbers_as_by_hand() -> None:
    nets = [Whole(torch.int64, lambda weight: weight.random_(100)) for _ in range(2)]
    torch.manual_seed(1)
    nets[0].reset_parameters()
    torch.manual_seed(1)
    initdsl.apply(nets[1], "default net")
    assert torch.equal(nets[0].a, nets[1].a)
    assert torch.equal(nets[0].w, nets[1].w)


# ---- what is read before it is known


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("edit", ["where(it > 0, 1, 0)", "it == it"])
def test_an_edit_hides_nothing(edit: str, way: str, seed: int | None, tmp_path: Path) -> None:
    for cls in (Forgets, SetsRows):
        with pytest.raises(initdsl.ApplyError, match=r"leaves these unset: `net\.b`"):
            fill(way, cls, f"default net; net.b = {edit}", seed, tmp_path)
    assert fill(way, ThroughData, "default net; net.b = where(it > 0, 2, 0)", seed, tmp_path).b.tolist() == [[2, 2]] * 3


@pytest.mark.parametrize("seed", SEEDS)
def test_what_two_resets_give_a_model_without_memory_together_is_known(seed: int | None) -> None:
    class Outer(nn.Module):
        def __init__(self, row: int) -> None:
            super().__init__()
            self.inner = SetsRows()
            self.c = nn.Parameter(torch.zeros(1))
            self.row = row

        def reset_parameters(self) -> None:
            nn.init.ones_(self.c)
            self.inner.b.data[self.row] = 4
            self.inner.b.data.mul_(2)

    rules = "default net; net.inner.b = where(it > 0, it, 0)"
    expected = [[8, 8], [2, 2], [2, 2]]
    assert initdsl.materialize(lambda: Outer(0), rules, seed=seed).inner.b.tolist() == expected
    with pytest.raises(initdsl.ApplyError, match=r"unset: `net\.inner\.b`"):
        initdsl.materialize(lambda: Outer(1), rules, seed=seed)


# ---- torch's own


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("where", "name"), [(nn.Linear, "reset_parameters"), (nn.init, "uniform_"), (nn.init, "kaiming_uniform_")]
)
def test_a_reset_of_torch_that_was_switched_off_is_found(
    where: object, name: str, way: str, seed: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = nn.Linear(2, 3)
    monkeypatch.setattr(where, name, lambda *arguments, **options: None)
    with pytest.raises(initdsl.ApplyError, match=r"leaves these unset: `net\.\w+`"):
        fill(way, (lambda: net) if way == "apply" else (lambda: nn.Linear(2, 3)), "default net", seed, tmp_path)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("norm", [nn.utils.parametrizations.weight_norm, nn.utils.weight_norm])
@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_the_default_of_a_computed_weight_that_its_reset_leaves_is_refused(
    norm: Callable[[nn.Module], nn.Module], seed: int | None
) -> None:
    class Bare(nn.Linear):
        def reset_parameters(self) -> None:
            nn.init.zeros_(self.bias)

    def factory() -> nn.Module:
        return nn.Sequential(norm(Bare(2, 3)))

    net = nn.Sequential(Bare(2, 3))
    nn.init.ones_(net[0].weight)
    norm(net[0])
    for rules in ("default net[0].weight", "default net[0].weight; net[0].weight = where(it > 0, 1, 2)"):
        with pytest.raises(initdsl.ApplyError, match=r"unset: `net\[0\]\.weight`"):
            initdsl.apply(net, rules, seed=seed)
        with pytest.raises(initdsl.ApplyError, match=r"unset: `net\[0\]\.weight`"):
            initdsl.materialize(factory, f"{rules}; net[0].bias = 0", seed=seed)
    assert net[0].weight.tolist() == [[1, 1]] * 3


@pytest.mark.parametrize("way", ["materialize", "stream"])
@pytest.mark.parametrize("edit", ["*= mean(it)", "= where(mean(net.b) > 0, 1, 2)"])
def test_slices_that_set_all_in_the_end_hide_nothing_that_is_read_before(edit: str, way: str, tmp_path: Path) -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.b = nn.Parameter(torch.empty(3))

    rules = f"net.b[0:2] = 1; net.b[0:2] {edit}; net.b[2] = 1"
    with pytest.raises(initdsl.ResolveError, match=r"no rule sets 1 parameter.*`net\.b`"):
        fill(way, Bare, rules, 0, tmp_path)
    assert initdsl.plan(Bare(), rules)["b"].status == "partial"
    known = f"net.b[0:2] = 1; net.b[2] = 1; net.b[0:2] {edit}"
    assert initdsl.plan(Bare(), known)["b"].status == "set"
    assert fill(way, Bare, known, 0, tmp_path).b.tolist() == [1, 1, 1]


def halve(tensor: torch.Tensor, generator: object = None) -> None:
    tensor.mul_(0.5)


def first_row(tensor: torch.Tensor, generator: object = None) -> None:
    tensor[0] = 1


@pytest.mark.parametrize("way", ["materialize", "stream"])
@pytest.mark.parametrize("mine", [halve, first_row])
@pytest.mark.parametrize("rule", ["net.weight ~ mine()", "net.weight ~ 2 * mine()"])
def test_an_initializer_builds_on_no_memory_that_holds_nothing(
    rule: str, mine: Callable[..., None], way: str, tmp_path: Path
) -> None:
    def made(rules: str) -> object:
        options: dict[str, Any] = {"initializers": {"mine": mine}, "seed": 0}
        if way == "stream":
            return initdsl.stream(lambda: nn.Linear(2, 3), rules, tmp_path / "out", **options)
        return initdsl.materialize(lambda: nn.Linear(2, 3), rules, **options)

    with pytest.raises(initdsl.ApplyError, match=r"`mine` leaves or takes values of `net\.weight`"):
        made(f"{rule}; net.bias = 0")
    made("net.weight = 4; net.weight[0:1] ~ mine(); net.bias = 0")


# ---- one module at a time


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
@pytest.mark.parametrize("emptied", [False, True])
@pytest.mark.parametrize("rules", ["default net", "net[0].a = 1", "default net; net[0].w = where(it > 0, 1, 0)"])
@frozen
def test_a_function_of_one_module_builds_on_no_memory(
    rules: str, emptied: bool, dtype: torch.dtype, seed: int | None
) -> None:
    with torch.device("meta"):
        net = nn.Sequential(Whole(dtype, lambda weight: weight.mul_(2)))
    function = initdsl.parse(rules).as_init_fn(net, seed=seed, device=None if emptied else "cpu")
    if emptied:
        net.to_empty(device="cpu")
        net[0].w.data.fill_(3)
    with pytest.raises(initdsl.ApplyError, match=r"unset: `net\[0\]\.w`"):
        net.apply(function)


@pytest.mark.parametrize("seed", SEEDS)
@frozen
def test_a_function_of_one_module_may_build_on_values(seed: int | None) -> None:
    net = nn.Sequential(Whole(torch.int64, lambda weight: weight.mul_(2)))
    net.apply(initdsl.parse("default net").as_init_fn(net, seed=seed))
    assert net[0].w.tolist() == [[2, 2]] * 3
