"""Initializers that look at data: what comes out of the layers of real models, and that nothing else is left behind."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from torch import nn

import initdsl
from initdsl.cli import group as cli
from initdsl.initializers import default_registry

pytestmark = pytest.mark.filterwarnings(
    "ignore::initdsl.UncoveredParameterWarning", "ignore::initdsl.UnmatchedRuleWarning"
)

CONVOLUTIONAL = "Conv2d+.weight, Linear+.weight"


def outputs(
    net: nn.Module, sample: Any, of: tuple[type[nn.Module], ...] = (nn.Linear, nn.Conv2d)
) -> dict[str, torch.Tensor]:
    """What the layers put out, in the order they are reached."""
    found: dict[str, torch.Tensor] = {}
    hooks = [
        m.register_forward_hook(lambda m, args, out, name=name: found.update({name: out.detach().clone()}))
        for name, m in net.named_modules()
        if isinstance(m, of)
    ]
    training = net.training
    net.eval()
    with torch.no_grad():
        net(**sample) if isinstance(sample, dict) else net(*sample) if isinstance(sample, tuple) else net(sample)
    net.train(training)
    for hook in hooks:
        hook.remove()
    return found


def snapshot(net: nn.Module) -> tuple[Any, ...]:
    """Everything a run must leave as it was."""
    return (
        {n: v.clone() for n, v in net.state_dict().items()},
        [m.training for m in net.modules()],
        [[len(getattr(m, name)) for name in vars(m) if name.endswith("_hooks")] for m in net.modules()],
        [id(t) for t in (*net.parameters(), *net.buffers())],
        torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist(),
    )  # fmt: skip


def assert_same(a: tuple[Any, ...], b: tuple[Any, ...], but: Callable[[str], bool] = lambda name: False) -> None:
    assert all(torch.equal(value, b[0][name]) for name, value in a[0].items() if not but(name))
    assert a[1:4] == b[1:4]
    assert torch.equal(a[4], b[4])
    assert a[5:] == b[5:]


class Stochastic(nn.Module):
    """Dropout, batch norm, a draw in its forward pass, and a layer by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.drop, self.b = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 5)
        self.register_buffer("calls", torch.zeros(()))
        self.norm.eval()

    def forward(self, x: torch.Tensor, *, scale: float = 1.0) -> torch.Tensor:
        self.calls += 1
        noise = torch.randn(()) + random.random() + np.random.rand()
        return self.b(self.drop(self.norm(self.a(x * scale)).relu()) + 0.01 * noise)


def small() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4))


X = torch.randn(64, 6, generator=torch.Generator().manual_seed(0)) * 3 + 1


# ---- real networks


def networks() -> dict[str, tuple[Callable[[], nn.Module], Any]]:
    image = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    small = image[..., :32, :32]

    def vision(name: str, **options: Any) -> Callable[[], nn.Module]:
        return lambda: getattr(pytest.importorskip("torchvision.models"), name)(weights=None, **options)

    def timm(name: str, **options: Any) -> Callable[[], nn.Module]:
        return lambda: pytest.importorskip("timm").create_model(name, **options)

    return {
        "squeezenet": (vision("squeezenet1_1"), small),
        "resnet18": (vision("resnet18"), small),
        "mixer": (timm("mixer_s32_224", img_size=64, num_classes=7), image),
        "vit": (timm("vit_tiny_patch16_224", img_size=64, depth=2, num_classes=7), image),
        "convnext": (timm("convnext_atto", num_classes=7), image),
    }  # fmt: skip


@pytest.mark.parametrize("name", networks())
def test_lsuv_gives_unit_variance(name: str, torchvision_shim: None) -> None:
    make, sample = networks()[name]
    torch.manual_seed(0)
    net = make()
    initdsl.apply(net, f"{CONVOLUTIONAL} ~ lsuv(); Conv2d+.bias, Linear+.bias = 0", seed=0, sample=sample)
    found = outputs(net, sample)
    assert len(found) >= 7
    for layer, out in found.items():
        assert float(out.var(unbiased=False)) == pytest.approx(1, abs=0.0101), layer


@pytest.mark.parametrize("name", ["squeezenet", "vit"])
def test_activations_are_normalized(name: str, torchvision_shim: None) -> None:
    make, sample = networks()[name]
    torch.manual_seed(0)
    net = make()
    initdsl.apply(net, "Conv2d+.*, Linear+.* ~ activation_norm()", seed=0, sample=sample)
    for layer, out in outputs(net, sample).items():
        channel = 1 if isinstance(net.get_submodule(layer), nn.Conv2d) else -1
        units = out.transpose(0, channel).flatten(1).double()
        torch.testing.assert_close(
            units.mean(1), torch.zeros(len(units), dtype=torch.float64), atol=2e-3, rtol=0, msg=layer
        )
        torch.testing.assert_close(
            units.std(1, unbiased=False), torch.ones(len(units), dtype=torch.float64), atol=2e-3, rtol=0
        )


@pytest.mark.parametrize("layer", [
    nn.Conv1d(4, 6, 3), nn.Conv3d(4, 6, 2, groups=2), nn.ConvTranspose1d(4, 6, 3), nn.ConvTranspose2d(4, 6, 3, groups=2, stride=2),
], ids=lambda layer: type(layer).__name__)  # fmt: skip
def test_units_of_every_kind_of_layer(layer: Any) -> None:
    x = torch.randn(9, 4, *[6] * len(layer.kernel_size)) * 2 + 1
    initdsl.apply(layer, "*.* ~ activation_norm(mean=0.5, std=2)", seed=0, sample=x)
    units = layer(x).detach().transpose(0, 1).flatten(1)
    torch.testing.assert_close(units.mean(1), torch.full((6,), 0.5), atol=5e-3, rtol=0)
    torch.testing.assert_close(units.std(1, unbiased=False), torch.full((6,), 2.0), atol=5e-3, rtol=0)


def test_units_of_conv1d(torchvision_shim: None) -> None:
    layer = pytest.importorskip("transformers.pytorch_utils").Conv1D(7, 6)
    initdsl.apply(layer, "Conv1D.* ~ activation_norm()", seed=0, sample=X)
    torch.testing.assert_close(layer(X).std(0, unbiased=False), torch.ones(7), atol=2e-3, rtol=0)


def test_weight_norm_takes_the_scale() -> None:
    """The same model with and without weight norm: y = g v / |v| x + b, both as section 3 of the paper asks."""
    for wrapped in (nn.utils.parametrizations.weight_norm, nn.utils.weight_norm):
        net = small()
        for place in (0, 2, 4):
            net[place] = wrapped(net[place])
        initdsl.apply(net, "Linear.weight, Linear.bias ~ activation_norm()", seed=0, sample=X)
        for out in outputs(net, X).values():
            torch.testing.assert_close(out.mean(0), torch.zeros(out.shape[1]), atol=2e-3, rtol=0)
            torch.testing.assert_close(out.std(0, unbiased=False), torch.ones(out.shape[1]), atol=2e-3, rtol=0)
        names = dict(net.named_parameters())
        g = names.get("0.parametrizations.weight.original0", names.get("0.weight_g"))
        assert g is not None
        torch.testing.assert_close(net[0].weight.norm(dim=1, keepdim=True), g)


def test_spectral_norm_follows() -> None:
    net = small()
    net[2] = nn.utils.parametrizations.spectral_norm(net[2])
    net.eval()
    initdsl.apply(
        net, "net[0].weight, net[4].weight ~ lsuv(); Linear.bias = 0; net[2].weight ~ orthogonal()", seed=0, sample=X
    )
    out = outputs(net, X)
    assert float(out["4"].var()) == pytest.approx(1, abs=0.02)


def test_arguments() -> None:
    net = small()
    initdsl.apply(net, "Linear.weight ~ lsuv(std=0.5, tol=1e-4); Linear.bias = 0", seed=0, sample=X)
    assert all(float(out.var(unbiased=False)) == pytest.approx(0.25, rel=1e-3) for out in outputs(net, X).values())
    weight = net[2].weight
    gram = weight @ weight.T
    torch.testing.assert_close(gram, torch.eye(8) * gram[0, 0], atol=1e-5, rtol=1e-4)  # scaled, still orthogonal


def test_the_paper_s_loop() -> None:
    """Mishkin and Matas's algorithm as they write it: layer by layer, a pass for every step."""
    ours, theirs = small(), small()
    initdsl.apply(ours, "Linear.weight ~ orthogonal(); Linear.bias = 0", seed=3)
    theirs.load_state_dict(ours.state_dict())
    for place in ("0", "2", "4"):
        for _ in range(10):
            variance = outputs(theirs, X)[place].var(unbiased=False)
            if abs(float(variance) - 1) < 0.01:
                break
            theirs.get_submodule(place).weight.data /= variance.sqrt()
    initdsl.apply(ours, "Linear.weight ~ lsuv(); Linear.bias = 0", seed=3, sample=X)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


# ---- samples


@pytest.mark.parametrize("sample", [X, (X,), [X], {"x": X}, {"x": X, "scale": 2.0}])
def test_samples(sample: Any) -> None:
    net = Stochastic()
    initdsl.apply(net, "Linear.weight ~ lsuv(); Linear.bias = 0", seed=0, sample=sample)
    out = outputs(net, tuple(sample) if isinstance(sample, list) else sample)
    assert float(out["a"].var(unbiased=False)) == pytest.approx(1, abs=0.0101)


def test_tied_and_repeated_layers_go_by_their_first_output() -> None:
    net = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6))
    initdsl.apply(net, "Linear.weight ~ lsuv(); Linear.bias = 0; tie net[0].weight net[2].weight", seed=0, sample=X)
    assert net[0].weight is net[2].weight
    assert float(outputs(net, X)["0"].var(unbiased=False)) == pytest.approx(1, abs=0.0101)
    shared = nn.Linear(6, 6)
    again = nn.Sequential(shared, nn.Tanh(), shared)
    initdsl.apply(again, "Linear.weight ~ lsuv(); Linear.bias = 0", seed=0, sample=X)
    assert torch.equal(again[0].weight, net[0].weight)


def test_a_sample_that_no_rule_asks_for() -> None:
    a, b = small(), small()
    initdsl.apply(a, "*.* ~ normal()", seed=0, sample=object())
    initdsl.apply(b, "*.* ~ normal()", seed=0)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


# ---- nothing is left behind

RULES = "Linear.weight ~ lsuv(); Linear.bias = 0"


def test_deterministic_under_a_seed() -> None:
    nets = [Stochastic() for _ in range(2)]
    for net in nets:
        torch.rand(3)
        before = snapshot(net)
        initdsl.apply(net, RULES, seed=5, sample=X)
        assert_same(before, snapshot(net), lambda name: name.startswith(("a.", "b.")))
    assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True))


def test_without_a_seed_the_draws_are_torchs() -> None:
    """The generator stands where the orthogonal draws left it: the pass moves nothing."""
    net, other = Stochastic(), Stochastic()
    other.load_state_dict(net.state_dict())
    torch.manual_seed(1)
    initdsl.apply(other, "Linear.weight ~ orthogonal(); Linear.bias = 0")
    state = torch.get_rng_state()
    torch.manual_seed(1)
    before = snapshot(net)
    initdsl.apply(net, RULES, sample=X)
    after = snapshot(net)
    assert torch.equal(torch.get_rng_state(), state)
    assert before[1:4] == after[1:4]
    assert before[5:] == after[5:]
    torch.testing.assert_close(net.a.weight / net.a.weight.norm(), other.a.weight / other.a.weight.norm())


class Fails(Stochastic):
    def forward(self, x: torch.Tensor, *, scale: float = 1.0) -> torch.Tensor:
        super().forward(x)
        self.norm.train()
        self.calls = torch.ones(3)
        raise RuntimeError("no more")


class Unreached(Stochastic):
    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(3, 3)


class Direct(Stochastic):
    def forward(self, x: torch.Tensor, *, scale: float = 1.0) -> torch.Tensor:
        return nn.functional.linear(self.a(x), self.b.weight)


class Dead(Stochastic):
    def forward(self, x: torch.Tensor, *, scale: float = 1.0) -> torch.Tensor:
        return self.b(self.a(x) * 0)


@pytest.mark.parametrize(("make", "rules", "message"), [
    (Fails, RULES, "the forward pass on the sample raised RuntimeError: no more"),
    (Unreached, RULES, "`net.spare.weight` can't be adjusted: the forward pass on the sample does not call its module"),
    (Direct, RULES, "`net.b.weight` can't be adjusted: the forward pass on the sample does not call its module"),
    (Dead, RULES, "`net.b.weight` can't be adjusted: its output on the sample has the variance 0"),
    (Dead, "Linear.* ~ activation_norm()", "the output of 5 of its 5 units is constant on the sample"),
    (Stochastic, "Linear.weight ~ lsuv(); Linear.bias = index(0)", "its output is not as asked for after 10 steps"),
    (Stochastic, "BatchNorm1d.weight ~ activation_norm()", "it is BatchNorm1d"),
    (lambda: nn.LSTM(6, 5), "LSTM.weight_hh_l0 ~ lsuv()", "its module puts out tuple, not one tensor"),
])  # fmt: skip
@pytest.mark.parametrize("seed", [None, 4])
def test_what_fails_leaves_nothing(make: Callable[[], nn.Module], rules: str, message: str, seed: int | None) -> None:
    net = make()
    before = snapshot(net)
    with pytest.raises(initdsl.ApplyError) as caught:
        initdsl.apply(net, rules, seed=seed, sample=X)
    assert message in str(caught.value)
    assert [found.name for found in caught.value.diagnostics] == ["sample-failed"]
    assert_same(before, snapshot(net))


class Beside(nn.Module):
    """A layer that runs, and a part that doesn't and has no values."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.up, self.part = nn.Linear(8, 8), part

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.up(x)


@pytest.mark.parametrize("part", [nn.LazyLinear(3), nn.Linear(3, 3, device="meta")])
def test_parts_without_values_are_left_out(part: nn.Module) -> None:
    net, x = Beside(part), torch.randn(200, 8)
    held = list(net.parameters())

    def fail(entry: object) -> None:
        raise ValueError("no more")

    before = net.up.weight.clone()
    with pytest.raises(initdsl.ApplyError, match="no more"):
        initdsl.apply(net, "net.up.weight ~ lsuv(); net.up.bias = 0", sample=x, on_init=fail)
    assert torch.equal(net.up.weight, before)
    initdsl.apply(net, "net.up.weight ~ lsuv(); net.up.bias = 0", sample=x)
    assert float(net(x).var()) == pytest.approx(1, abs=0.02)
    assert all(one is other for one, other in zip(net.parameters(), held, strict=True))


class Scaled(nn.Module):
    """A weight kept in units of a number beside it, as quantized ones are: who writes the weight sets the number too."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale

    def right_inverse(self, weight: torch.Tensor) -> torch.Tensor:
        self.scale.copy_(weight.abs().max())
        return weight / self.scale


@pytest.mark.parametrize("seed", [None, 0])
def test_buffers_that_belong_to_a_weight_follow_it(seed: int | None) -> None:
    net = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4))
    for layer in net:
        nn.utils.parametrize.register_parametrization(layer, "weight", Scaled())
    seen: dict[str, torch.Tensor] = {}

    def tell(entry: Any) -> None:
        seen[entry.label] = (
            net[int(entry.label[4])].weight.detach().clone() if "weight" in entry.label else torch.empty(0)
        )

    initdsl.apply(net, "Linear.weight ~ lsuv(); Linear.bias = 0", sample=X, seed=seed, on_init=tell)
    for name, out in outputs(net, X).items():
        assert float(out.var()) == pytest.approx(1, rel=0.02)
        assert torch.equal(seen[f"net[{name}].weight"], net[int(name)].weight)


def test_an_interrupt_in_the_pass_leaves_nothing() -> None:
    class Interrupted(Stochastic):
        def forward(self, x: torch.Tensor, *, scale: float = 1.0) -> torch.Tensor:
            super().forward(x)
            raise KeyboardInterrupt

    net = Interrupted()
    before = snapshot(net)
    with pytest.raises(KeyboardInterrupt):
        initdsl.apply(net, RULES, seed=1, sample=X)
    assert_same(before, snapshot(net))


@pytest.mark.parametrize(("rules", "sample", "message"), [
    ("Linear.weight ~ lsuv()", None, "error[no-sample]: `lsuv` for `net[0].weight` goes by a forward pass"),
    ("Linear.weight[0:2] ~ lsuv()", X, "takes whole parameters"),
    ("Linear.weight as (2, -1)[*] ~ lsuv()", X, "takes whole parameters"),
    ("Linear.weight ~ lsuv() * 2", X, "`lsuv` stands alone"),
    ("Linear.weight = lsuv()", X, "this draws at random"),
    ("Linear.bias ~ lsuv()", X, "needs a tensor of at least 2 dimensions"),
    ("Linear.weight ~ lsuv(std=sum(net[0].bias))", X, "an argument of `lsuv` is read off tensors"),
    ("Linear.weight ~ lsuv(std=0)", X, "`std` must be greater than 0"),
    ("Linear.weight ~ lsuv(); net[0].weight *= 2", X, "this rule builds on it"),
    ("net[0].weight ~ lsuv(); net[2].bias = sum(net[0].weight)", X, "this rule of `net[2].bias` reads it"),
    ("net[2].weight ~ lsuv(); net[2].weight[0] = 0", X, "this rule builds on it"),
])  # fmt: skip
def test_refused_before_anything_changes(rules: str, sample: Any, message: str) -> None:
    net = small()
    before = snapshot(net)
    with pytest.raises(initdsl.InitDSLError) as caught:
        initdsl.apply(net, rules, seed=1, sample=sample)
    assert message in str(caught.value)
    assert_same(before, snapshot(net))


def test_what_fills_without_a_pass_says_so() -> None:
    net: nn.Module = small()
    initdsl.plan(net, RULES)  # planning needs none
    with pytest.raises(initdsl.ResolveError, match="no-sample"):
        initdsl.materialize(small, RULES, seed=0)
    with pytest.raises(initdsl.ResolveError, match="no-sample"):
        net.apply(initdsl.parse(RULES).as_init_fn(net))
    with torch.device("meta"):
        net = small()
    with pytest.raises(initdsl.ResolveError, match="meta device"):
        initdsl.apply(net, RULES, seed=0, sample=X)


def test_on_init_sees_the_final_values_once() -> None:
    net = small()
    seen: list[tuple[str, torch.Tensor]] = []
    report = initdsl.apply(
        net,
        RULES,
        seed=0,
        sample=X,
        on_init=lambda e: seen.append((e.name, net.get_parameter(e.name).detach().clone())),
    )
    assert sorted(e.name for e in report) == sorted(name for name, _ in seen)
    assert all(torch.equal(value, net.get_parameter(name)) for name, value in seen)


def test_somebody_s_hooks_see_the_adjusted_output_and_don_t_count() -> None:
    net, seen = small(), []
    handle = net[0].register_forward_hook(
        lambda module, args, out: (seen.append(float(out.var(unbiased=False))), out * 7)[1]
    )
    initdsl.apply(net, RULES, seed=0, sample=X)
    assert seen == [pytest.approx(1, abs=0.0101)]
    handle.remove()
    assert float(net[0](X).detach().var(unbiased=False)) == pytest.approx(1, abs=0.0101)


def test_every_one_that_looks_at_data_is_tried() -> None:
    registry = default_registry()
    assert {name for name in registry if registry[name].adjust} == {"lsuv", "activation_norm"}


# ---- the command line

MODEL = """
import torch
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x, y=0):
        return self.b(self.a(x + y).tanh())
"""


def test_sample_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(MODEL)
    Path("a.init").write_text(RULES)
    save_file({"x": X}, "one.safetensors")
    save_file({"x": X, "y": torch.ones(6)}, "named.safetensors")
    save_file({"0": X, "1": torch.ones(6)}, "placed.safetensors")
    made = []
    for name in ("one", "named", "placed"):
        arguments = ["apply", "a.init", "--model", "model.py:Model", "--seed", "0", "--sample", f"{name}.safetensors"]
        result = CliRunner().invoke(cli, [*arguments, "-o", "out.safetensors"])
        assert result.exit_code == 0, result.output
        made.append(load_file("out.safetensors")["a.weight"])
    assert float((X @ made[0].T).var(unbiased=False)) == pytest.approx(1, abs=0.0101)
    assert torch.equal(made[1], made[2])
    assert not torch.equal(made[0], made[1])


@pytest.mark.parametrize(("arguments", "message"), [
    ([], "goes by a forward pass"),
    (["--sample", "none.safetensors"], "there is no file `none.safetensors`"),
    (["--sample", "bad.safetensors"], "can't be read as safetensors"),
    (["--sample", "empty.safetensors"], "holds no tensor"),
    (["--sample", "wrong.safetensors"], "the forward pass on the sample raised RuntimeError"),
    (["--sample", "wrong.safetensors", "-o", "folder/"], "streamed is not run on a sample"),
])  # fmt: skip
def test_sample_files_that_won_t_do(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(MODEL)
    Path("a.init").write_text(RULES)
    Path("bad.safetensors").write_bytes(b"bad")
    save_file({}, "empty.safetensors")
    save_file({"x": torch.ones(2, 2)}, "wrong.safetensors")
    result = CliRunner().invoke(cli, ["apply", "a.init", "--model", "model.py:Model", "--seed", "0", *arguments])
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output
