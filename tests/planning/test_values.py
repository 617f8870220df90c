"""A plan is a value: it compares, copies and pickles, nothing changes it, and it alone decides what is written."""

from __future__ import annotations

import copy
import os
import pickle
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import initdsl
from initdsl.language.expressions import evaluate, let
from initdsl.network import describe as describing
from initdsl.network.selectors import classes, paths, select, why_nothing
from initdsl.planning import calls, cascade, file_contents, loads, lookups, names, resolve, selecting, statements
from tests.support.processes import python

ROOT = Path(__file__).parents[2]


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, 2 * width)
        self.norm = nn.LayerNorm(width)
        self.scale = nn.Parameter(torch.ones(width))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(4) for _ in range(3))
        self.head = nn.Linear(4, 6)
        self.tail = nn.Linear(4, 6)


# every kind of right-hand side, edit, piece and view, ties and expectations
RULES = """
let std = 0.02
let spread = std * sqrt(2 * len(net.blocks))
default net
Linear.weight ~ normal(0, std)
Block { .scale ~ normal(0, 1) * spread + abs(net.blocks[0].norm.weight) }
net.blocks[i].up.bias = index(0) * (i + 1)
net.blocks[0].up.weight[0, :] = net.blocks[1].up.weight[0] * 2
net.blocks[1].up.weight as (2, -1, 4)[*] ~ orthogonal()
net.blocks[2].up.weight *= abs(it) < 2 * std(net.blocks[0].up.weight)
net.blocks[2].up.bias ~ normal(0, std(net.blocks[1].up.weight))
copy net.blocks[0].norm net.blocks[1].norm
keep net.blocks[2].norm
tie net.head net.tail
expect tied net.head net.tail
expect net.head.weight finite
"""


def filled(seed: int | None, rules: str = RULES, **options: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    net = Net()
    torch.manual_seed(1)
    initdsl.apply(net, rules, seed=seed, **options)
    return {name: value.clone() for name, value in net.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


# ---- a value


def test_plans_compare(net: Net) -> None:
    plan = initdsl.plan(net, RULES, seed=3)
    assert plan == initdsl.plan(Net(), RULES, seed=3)
    for other in (initdsl.plan(net, RULES, seed=4), initdsl.plan(net, RULES + "net.head.bias = 1", seed=3)):
        assert plan != other
    assert plan != initdsl.plan(net, RULES.replace("0.02", "0.03"), seed=3)


def test_plans_pickle_and_copy(net: Net) -> None:
    plan = initdsl.plan(net, RULES, seed=3)
    plan["head.weight"]  # what was looked up is no part of the value
    again = pickle.loads(pickle.dumps(plan))
    assert again == plan
    assert hash(again.rules) == hash(plan.rules)
    assert str(again) == str(plan)
    assert again.to_dict() == plan.to_dict()
    assert copy.deepcopy(plan) == plan
    assert copy.copy(plan) == plan


def doubled(tensor: torch.Tensor, by: float = 2.0, *, generator: torch.Generator | None = None) -> None:
    """Fill with normals of this size."""
    tensor.normal_(0, by, generator=generator)


def test_a_plan_with_functions_of_ones_own_pickles(net: Net) -> None:
    plan = initdsl.plan(net, "Linear.weight ~ doubled(3)", initializers={"doubled": doubled}, seed=1)
    assert pickle.loads(pickle.dumps(plan)) == plan


def test_nothing_changes_a_plan(net: Net) -> None:
    plan = initdsl.plan(net, RULES, seed=3)
    entry = plan["head.weight"]
    for value, name in ((plan, "seed"), (entry, "base"), (entry.base, "operator"), (plan.clauses[0], "number")):
        with pytest.raises(AttributeError):
            setattr(value, name, None)
    with pytest.raises(TypeError, match="can't be changed"):
        plan.tied_to[0] = 1  # type: ignore[index]


def test_doing_leaves_a_plan_as_it_was(net: Net) -> None:
    plan = initdsl.plan(net, RULES, seed=3)
    before = pickle.dumps(plan)
    plan.apply()
    plan.explain("blocks.0.up.weight")
    str(plan)
    initdsl.verify(net, RULES, seed=3)
    assert pickle.dumps(initdsl.plan(Net(), RULES, seed=3)) == before
    assert plan == pickle.loads(before)


@pytest.mark.parametrize("seed", [None, 3])
def test_a_plan_from_another_process_gives_the_same_bits(seed: int | None, tmp_path: Path) -> None:
    program = f"""
import pickle, initdsl
from tests.planning.test_values import Net, RULES
with open("plan.pickle", "wb") as file:
    pickle.dump(initdsl.plan(Net(), RULES, seed={seed}), file)
"""
    done = python("-c", program, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    plan = pickle.loads((tmp_path / "plan.pickle").read_bytes())
    torch.manual_seed(0)
    net = Net()
    torch.manual_seed(1)
    plan.apply(net=net)
    assert same(net.state_dict(), filled(seed))


def test_a_plan_without_its_network_is_refused(net: Net) -> None:
    plan = pickle.loads(pickle.dumps(initdsl.plan(net, RULES, seed=3)))
    with pytest.raises(initdsl.ResolveError, match="there is no model to fill"):
        plan.apply()
    with pytest.raises(initdsl.ResolveError, match="not like the one the plan was made for"):
        plan.apply(net=nn.Linear(2, 2))


# ---- which alone decides


LOOK_UPS: list[Callable[..., Any]] = [
    evaluate.evaluate,
    evaluate.index_item,
    describing.describe,
    select.select,
    select.container_of,
    paths.reach,
    paths.select_path,
    classes.of_class,
    why_nothing.explain,
    lookups.plain_name,
    lookups.at_path,
    lookups.count_selected,
    lookups.names_in_files,
    names.selector_context,
    calls.bind_call,
    loads.find_tensor,
    loads.base_shape_of,
    file_contents.contents_of,
    file_contents.header_of,
    file_contents.manifest_of,
    selecting.select_or_report,
    statements.statements_of,
    cascade.cascade,
    cascade.selection_of,
    resolve.resolve,
    resolve.plan_and_findings,
    resolve.selections,
]


def refuse_look_ups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every look-up of a name, a selector or a model's description raise."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("something was looked up while tensors were written")

    for method in ("__init__", "name", "path", "length", "draw", "base_shape"):
        monkeypatch.setattr(names.Names, method, refuse)
    for method in ("__getitem__", "__contains__", "__iter__"):
        monkeypatch.setattr(let.Variables, method, refuse)
    # a function is refused wherever it was imported to
    loaded = [module for name, module in sys.modules.items() if name.startswith("initdsl.")]
    for function in LOOK_UPS:
        for module in loaded:
            for name, value in list(vars(module).items()):
                if value is function:
                    monkeypatch.setattr(module, name, refuse)


@pytest.fixture
def no_look_ups(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and from then on every look-up raises."""
    return lambda: refuse_look_ups(monkeypatch)


@pytest.mark.parametrize("seed", [None, 3])
def test_a_fill_looks_nothing_up(seed: int | None, net: Net, no_look_ups: Callable[[], None]) -> None:
    wanted = filled(seed)
    plan = initdsl.plan(net, RULES, seed=seed)
    torch.manual_seed(1)
    no_look_ups()
    plan.apply()
    assert same(net.state_dict(), wanted)


def test_the_look_ups_are_caught(net: Net, no_look_ups: Callable[[], None]) -> None:
    network, _ = initdsl.describe(net)
    plan = initdsl.plan(network, RULES)
    no_look_ups()
    looks: list[Callable[[], object]] = [
        lambda: initdsl.plan(net, RULES),
        lambda: initdsl.plan(network, RULES),
        lambda: plan.explain("head.weight"),
    ]
    for look in looks:
        with pytest.raises(AssertionError, match="looked up"):
            look()


class Three(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ps = nn.ParameterList(nn.Parameter(torch.full((2,), float(n))) for n in range(3))


TWO_LETS = """
let k = 0
net.ps[2] ~ noise() + net.ps[k]
let k = 1
net.ps[2] += net.ps[k]
"""


def test_explaining_during_a_fill_changes_nothing() -> None:
    """Names mean what they meant where the rule stands, whatever is asked about the plan meanwhile."""

    def fill(asks: bool) -> torch.Tensor:
        net = Three()

        def noise(tensor: torch.Tensor, *, generator: torch.Generator | None = None) -> None:
            if asks:
                plan.explain("ps.2")
                str(plan)
            tensor.zero_()

        plan = initdsl.plan(net, TWO_LETS, initializers={"noise": noise})
        plan.apply(on_init=(lambda entry: plan.explain(entry.name)) if asks else None)
        return net.ps[2].detach().clone()

    assert torch.equal(fill(asks=True), fill(asks=False))
    assert fill(asks=True).tolist() == [1.0, 1.0]


def test_threads_share_a_plan(net: Net) -> None:
    plan = initdsl.plan(net, RULES, seed=3)
    stop = threading.Event()
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            while not stop.is_set():
                for entry in plan:
                    plan.explain(entry.name)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        plan.apply()
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors
    assert same(net.state_dict(), filled(3))
