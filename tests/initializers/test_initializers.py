"""Every initializer against the library or the paper it comes from. One that has no row here fails."""

from __future__ import annotations

import copy
import inspect
import math
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import initdsl
from initdsl import streams
from initdsl.initializers import Arguments, bind, default_registry
from initdsl.initializers.filling import fixed_order
from tests.support.calls import CALLS
from tests.support.nets import Tensors

BUILTIN = {name: item for name, item in default_registry().items() if item.builtin and item.name == name}
LARGE = (300, 400)

ROWS: dict[str, Callable[[], None]] = {}


def row(*names: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def register(check: Callable[[], None]) -> Callable[[], None]:
        ROWS.update(dict.fromkeys(names, check))
        return check

    return register


@pytest.mark.parametrize("name", BUILTIN)
def test_against_its_source(name: str, torchvision_shim: None) -> None:
    assert name in ROWS, f"`{name}` is compared with nothing: write a row"
    ROWS[name]()


def test_every_one_is_tried_under_seeds_in_layouts_and_files() -> None:
    """But for those that look at a sample, which are in `tests/filling/test_adjusting.py`."""
    assert {call.name for call in CALLS} == {name for name, item in BUILTIN.items() if not item.adjust}


def filled(rule: str, *shape: int, seed: int | None = None, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    net = Tensors(w=torch.full(shape, math.nan, dtype=dtype))
    initdsl.apply(net, f"net.w {rule}", seed=seed)
    return net.w.detach()


def alike(a: Any, b: Any) -> bool:
    """Whether two samples are of one distribution: Kolmogorov and Smirnov see no difference in 10^5 elements."""
    a, b = (np.asarray(x, dtype=np.float64).ravel() for x in (a, b))
    return bool(stats.ks_2samp(a, b).pvalue > 1e-4)


# ---------------------------------------------------------------------------------------------------- torch

TORCH: list[tuple[str, tuple[int, ...], dict[str, Any]]] = [
    ("uniform", (5,), {}),
    ("uniform", (5, 4), {"a": -3, "b": 2}),
    ("normal", (5, 4), {"mean": 1, "std": 0.3}),
    ("trunc_normal", (50, 4), {"mean": 0.5, "std": 2, "a": -1, "b": 1.5}),
    ("constant", (5, 4), {"val": 0.3}),
    ("ones", (5,), {}),
    ("zeros", (5,), {}),
    ("eye", (5, 4), {}),
    ("dirac", (4, 2, 3), {}),
    ("dirac", (4, 2, 3, 3), {"groups": 2}),
    ("xavier_uniform", (6, 5, 3, 3), {"gain": 2}),
    ("xavier_normal", (6, 5), {"gain": 0.7}),
    *(("kaiming_uniform", (6, 5, 3), {"a": 0.3, "mode": m, "nonlinearity": n}) for m in ("fan_in", "fan_out") for n in ("relu", "leaky_relu")),
    *(("kaiming_normal", (6, 5), {"mode": "fan_out", "nonlinearity": n}) for n in ("tanh", "selu", "sigmoid", "linear", "conv2d")),
    ("orthogonal", (6, 4), {"gain": 1.5}),
    ("orthogonal", (4, 3, 3, 3), {}),
    ("sparse", (7, 5), {"sparsity": 0.4, "std": 0.2}),
]  # fmt: skip


def against_torch(name: str) -> Callable[[], None]:
    def check() -> None:
        cases = [(shape, arguments) for which, shape, arguments in TORCH if which == name]
        assert cases
        for shape, arguments in cases:
            text = ", ".join(f"{k}={v}" for k, v in arguments.items())
            expected = torch.full(shape, math.nan)
            torch.manual_seed(3)
            getattr(nn.init, f"{name}_")(expected, **arguments)
            torch.manual_seed(3)
            assert torch.equal(filled(f"{'~' if BUILTIN[name].draws else '='} {name}({text})", *shape), expected)

    return check


PUBLIC = [name[:-1] for name in vars(nn.init) if name.endswith("_") and not name.startswith("_")]
ROWS.update({name: against_torch(name) for name in PUBLIC})


def test_torch_is_complete() -> None:
    assert len(PUBLIC) >= 14
    assert set(PUBLIC) <= set(BUILTIN)


@pytest.mark.parametrize("name", PUBLIC)
def test_torch_argument_names_and_defaults(name: str) -> None:
    theirs = list(inspect.signature(getattr(nn.init, f"{name}_")).parameters.values())[1:]
    wanted = [(p.name, p.default) for p in theirs if p.name != "generator"]
    mine = [(p.name, inspect.Parameter.empty if p.required else p.default) for p in BUILTIN[name].parameters]
    assert mine[: len(wanted)] == wanted
    assert {n for n, _ in mine[len(wanted) :]} <= {"fan_in", "fan_out"}


@pytest.mark.parametrize(
    "nonlinearity", ["linear", "conv_transpose2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"]
)
def test_calculate_gain(nonlinearity: str) -> None:
    assert float(filled(f"= calculate_gain({nonlinearity})", 1, dtype=torch.float64)) == nn.init.calculate_gain(
        nonlinearity
    )  # type: ignore[arg-type]


def test_calculate_gain_takes_a_slope() -> None:
    gain = nn.init.calculate_gain("leaky_relu", 0.2)
    assert float(filled("= calculate_gain(leaky_relu, 0.2)", 1, dtype=torch.float64)) == gain
    assert float(filled("= calculate_gain(leaky_relu, param=0.2)", 1, dtype=torch.float64)) == gain
    net = Tensors(w=torch.zeros(4, 5))
    made = initdsl.plan(net, "net.w ~ xavier_uniform(gain=calculate_gain(tanh))")["w"].distribution
    torch.manual_seed(0)
    assert made is not None
    assert made.bounds[1] == pytest.approx(5 / 3 * math.sqrt(6 / 9))
    with pytest.raises(initdsl.RuleError, match=r"`nonlinearity` must be one of `linear`.* got `gelu`"):
        filled("= calculate_gain(gelu)", 1)
    with pytest.raises(initdsl.RuleError, match="takes 1 or 2 arguments, got 0"):
        filled("= calculate_gain()", 1)


# ---------------------------------------------------------------------------------------------------- JAX


def jax_sample(initializer: Any, *shape: int) -> np.ndarray[Any, Any]:
    """JAX keeps kernels as (receptive field..., in, out); torch as (out, in, receptive field...)."""
    jax = pytest.importorskip("jax")
    drawn = initializer(jax.random.key(5), (*shape[2:], shape[1], shape[0]), "float32")
    return np.asarray(drawn)


@row("variance_scaling")
def _() -> None:
    jax = pytest.importorskip("jax")
    modes = ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")
    cases = [(LARGE, mode, kind) for mode in modes for kind in ("truncated_normal", "uniform")]
    for shape, mode, kind in [*cases, (LARGE, "fan_in", "normal"), ((60, 40, 5, 9), "fan_avg", "truncated_normal")]:
        theirs = jax_sample(jax.nn.initializers.variance_scaling(1.7, mode, kind), *shape)
        ours = filled(f"~ variance_scaling(1.7, {mode}, {kind})", *shape, seed=2)
        assert alike(ours, theirs), (shape, mode, kind)
        if kind != "normal":
            assert float(np.abs(theirs).max()) == pytest.approx(float(ours.abs().max()), rel=1e-3)


@row("lecun_normal", "lecun_uniform")
def _() -> None:
    jax = pytest.importorskip("jax")
    for name in ("lecun_normal", "lecun_uniform"):
        theirs = jax_sample(getattr(jax.nn.initializers, name)(), *LARGE)
        assert alike(filled(f"~ {name}()", *LARGE, seed=2), theirs)


def test_what_jax_calls_he_and_glorot() -> None:
    """JAX truncates its normal ones, torch does not; each is a call away, and the uniform ones are the same."""
    jax = pytest.importorskip("jax")
    for name, rule in {
        "he_normal": "variance_scaling(2)", "he_uniform": "he_uniform()", "glorot_uniform": "glorot_uniform()",
        "glorot_normal": "variance_scaling(mode=fan_avg)",
    }.items():  # fmt: skip
        theirs = jax_sample(getattr(jax.nn.initializers, name)(), *LARGE)
        assert alike(filled(f"~ {rule}", *LARGE, seed=2), theirs), name
    assert {"he_normal", "he_uniform"} == {*BUILTIN["kaiming_normal"].aliases, *BUILTIN["kaiming_uniform"].aliases}
    assert {"glorot_normal", "glorot_uniform"} == {
        *BUILTIN["xavier_normal"].aliases,
        *BUILTIN["xavier_uniform"].aliases,
    }


@row("trunc_normal_sd")
def _() -> None:
    jax = pytest.importorskip("jax")
    for a, b in ((-2.0, 2.0), (-1.0, 0.5), (-3.0, 3.0)):
        theirs = jax.nn.initializers.truncated_normal(0.02, lower=a, upper=b)(jax.random.key(0), LARGE)
        ours = filled(f"~ trunc_normal_sd(0, 0.02, {a}, {b})", *LARGE, seed=4)
        assert alike(ours, theirs)
        assert ours.min() >= a * 0.02
        assert ours.max() <= b * 0.02


def test_trunc_normal_sd_is_timms(torchvision_shim: None) -> None:
    layers = pytest.importorskip("timm.layers")
    theirs = layers.trunc_normal_tf_(torch.empty(LARGE), mean=0.3, std=0.02)
    assert alike(filled("~ trunc_normal_sd(0.3, 0.02)", *LARGE, seed=4), theirs)


@row("bernoulli")
def _() -> None:
    made = filled("~ bernoulli(0.3)", *LARGE, seed=1), filled("~ bernoulli(0.3)", *LARGE)
    assert all(set(ours.unique().tolist()) == {0, 1} for ours in made)
    torch.manual_seed(2)
    expected = torch.empty(LARGE).bernoulli_(0.3)
    torch.manual_seed(2)
    assert torch.equal(filled("~ bernoulli(0.3)", *LARGE), expected)
    assert filled("~ bernoulli(0)", 9, seed=1).tolist() == [0] * 9
    assert filled("~ bernoulli(1)", 9, seed=1).tolist() == [1] * 9
    jax = pytest.importorskip("jax")
    theirs = np.asarray(jax.random.bernoulli(jax.random.key(0), 0.3, LARGE))
    for ours in made:
        assert abs(float(ours.mean()) - theirs.mean()) < 0.008


@row("rademacher")
def _() -> None:
    made = filled("~ rademacher()", *LARGE, seed=1), filled("~ rademacher()", *LARGE)
    for ours in made:
        assert set(ours.unique().tolist()) == {-1, 1}
        assert abs(float(ours.mean())) < 0.012
    assert torch.equal(filled("~ rademacher(0.02)", *LARGE, seed=1), made[0] * 0.02)
    jax = pytest.importorskip("jax")
    theirs = np.asarray(jax.random.rademacher(jax.random.key(0), LARGE))
    assert set(np.unique(theirs).tolist()) == set(made[0].unique().tolist())


@row("delta_orthogonal")
def _() -> None:
    jax = pytest.importorskip("jax")
    for shape in ((6, 4, 3), (5, 4, 2, 4)):
        theirs = torch.tensor(jax_sample(jax.nn.initializers.delta_orthogonal(1.5), *shape))
        theirs = theirs.permute(-1, -2, *range(len(shape) - 2))
        for ours in (filled("~ delta_orthogonal(1.5)", *shape), filled("~ delta_orthogonal(1.5)", *shape, seed=1)):
            assert torch.equal(ours != 0, theirs != 0)
            grams = [torch.einsum("oi...,oj...->ij", w, w) for w in (ours, theirs)]
            torch.testing.assert_close(*grams, atol=1e-5, rtol=1e-5)
    with pytest.raises(initdsl.ResolveError, match="orthogonal map from 6 channels"):
        filled("~ delta_orthogonal()", 4, 6, 3)


def test_delta_orthogonal_keeps_norms() -> None:
    conv = nn.Conv2d(5, 8, 3, padding=1, padding_mode="circular", bias=False)
    initdsl.apply(conv, "Conv2d.weight ~ delta_orthogonal()", seed=0)
    x = torch.randn(4, 5, 7, 6)
    torch.testing.assert_close(conv(x).norm(), x.norm())


# ---------------------------------------------------------------------------------------------------- papers


@row("icnr")
def _() -> None:
    """Shuffled, the first convolution's output is that of its kernels upsampled to the nearest neighbour (Aitken et al.)."""
    for seed in (None, 3):
        for r in (2, 3):
            conv = nn.Conv2d(4, 5 * r * r, 3, padding=1)
            initdsl.apply(conv, f"Conv2d.weight ~ icnr({r}); Conv2d.bias = 0", seed=seed)
            x = torch.randn(2, 4, 6, 7)
            shuffled = nn.PixelShuffle(r)(conv(x))
            kernels = nn.functional.conv2d(x, conv.weight[:: r * r], padding=1)
            torch.testing.assert_close(shuffled, nn.functional.interpolate(kernels, scale_factor=r, mode="nearest"))
    expected = torch.empty(100, 300)
    nn.init.kaiming_normal_(expected)
    assert alike(filled("~ icnr()", 400, 300, 1, 1, seed=1)[::4], expected)


def test_icnr_of_any_draw() -> None:
    conv = nn.Conv2d(4, 20, 3, padding=1)
    rules = "Conv2d.weight ~ orthogonal(); Conv2d.weight as (out_channels // 4, 4, -1) = it[:, 0:1]; Conv2d.bias = 0"
    initdsl.apply(conv, rules, seed=0)
    shuffled = nn.PixelShuffle(2)(conv(torch.randn(2, 4, 6, 7)))
    assert torch.equal(shuffled[..., ::2, ::2], shuffled[..., 1::2, 1::2])


@row("sinusoidal")
def _() -> None:
    distilbert = pytest.importorskip("transformers.models.distilbert.modeling_distilbert")
    from transformers.models.m2m_100.modeling_m2m_100 import M2M100SinusoidalPositionalEmbedding as TensorToTensor
    from transformers.models.marian.modeling_marian import MarianSinusoidalPositionalEmbedding as Marian
    from transformers.models.whisper.modeling_whisper import sinusoids

    for d in (10, 11):
        paper = distilbert.create_sinusoidal_embeddings(20, d, torch.empty(20, d))
        assert torch.equal(filled("= sinusoidal()", 20, d), paper)
        halves = Marian(20, d).create_weight()
        assert torch.equal(filled("= sinusoidal(layout=halves)", 20, d), halves)
        far = TensorToTensor.get_embedding(20, d)
        torch.testing.assert_close(filled("= sinusoidal(layout=halves, endpoint=true)", 20, d), far, atol=3e-6, rtol=0)
    whisper = sinusoids(30, 12, 500)
    torch.testing.assert_close(filled("= sinusoidal(500, halves, true)", 30, 12), whisper, atol=3e-6, rtol=0)
    batched = filled("= sinusoidal()", 1, 20, 10)
    assert torch.equal(batched[0], distilbert.create_sinusoidal_embeddings(20, 10, torch.empty(20, 10)))


def test_two_dimensional_tables_are_expressions(torchvision_shim: None) -> None:
    layers = pytest.importorskip("timm.layers")
    h, w, d = 3, 5, 16
    timms = layers.build_sincos2d_pos_embed([h, w], d)
    net = Tensors(pe=torch.full((h * w, d), math.nan))
    initdsl.apply(
        net,
        f"let t = 10000 ** (-4 * index(2) / {d})\n"
        + "\n".join(
            f"net.pe as ({h}, {w}, 2, 2, {d // 4})[:, :, {half}, {axis}] = {function}(index({axis}) * t)"
            for half, function in enumerate(("sin", "cos"))
            for axis in (0, 1)
        ),
    )
    torch.testing.assert_close(net.pe.detach(), timms, atol=1e-5, rtol=0)


@row("lsuv", "activation_norm")
def _() -> None:
    """Real models, and the papers' loops, are in test_adjusting.py; here what each says of one layer."""
    x = torch.randn(500, 6) * 3 + 1
    layer = nn.Linear(6, 8)
    initdsl.apply(layer, "Linear.weight ~ lsuv(); Linear.bias = 0", seed=0, sample=x)
    assert float(layer(x).detach().var()) == pytest.approx(1, abs=0.015)
    gram = (layer.weight.T @ layer.weight).detach()
    torch.testing.assert_close(gram, torch.eye(6) * gram[0, 0])
    initdsl.apply(layer, "Linear.* ~ activation_norm()", seed=0, sample=x)
    torch.testing.assert_close(layer(x).detach().mean(0), torch.zeros(8), atol=2e-3, rtol=0)
    torch.testing.assert_close(layer(x).detach().std(0, unbiased=False), torch.ones(8), atol=2e-3, rtol=0)


# ---------------------------------------------------------------------------------------------------- blocks, noise


def test_orthogonal_a_gate_at_a_time() -> None:
    lstm = nn.LSTM(6, 5, bidirectional=True)
    initdsl.apply(lstm, "LSTM.weight_hh_l* as (4, hidden_size, -1)[*] ~ orthogonal()", seed=1)
    for weight in (lstm.weight_hh_l0, lstm.weight_hh_l0_reverse):
        for gate in weight.view(4, 5, 5):
            torch.testing.assert_close(gate @ gate.t(), torch.eye(5))
    torch.manual_seed(4)
    gates = [nn.init.orthogonal_(torch.empty(5, 5)) for _ in range(4)]
    torch.manual_seed(4)
    one = nn.LSTM(6, 5)
    torch.manual_seed(4)
    initdsl.apply(one, "LSTM.weight_hh_l* as (4, hidden_size, -1)[*] ~ orthogonal()")
    assert torch.equal(one.weight_hh_l0.view(4, 5, 5), torch.stack(gates))


def test_orthogonal_a_head_at_a_time() -> None:
    """Heads lie along the outputs of a query projection and along the inputs of the one behind the attention."""
    net = Tensors(q=torch.zeros(12, 12), out=torch.zeros(12, 12))
    initdsl.apply(net, "net.q as (3, 4, 12)[*] ~ orthogonal(); net.out as (12, 3, 4)[:, *] ~ orthogonal()", seed=1)
    for head in range(3):
        q, out = net.q[4 * head : 4 * head + 4], net.out[:, 4 * head : 4 * head + 4]
        torch.testing.assert_close(q @ q.t(), torch.eye(4))
        torch.testing.assert_close(out.t() @ out, torch.eye(4))


def test_identity_with_noise() -> None:
    for seed in (None, 1):
        noise = filled("~ eye() + normal(0, 0.01)", *LARGE, seed=seed) - torch.eye(*LARGE)
        assert float(noise.std()) == pytest.approx(0.01, rel=0.02)
        assert abs(float(noise.diagonal().mean())) < 0.002
    kernel = filled("~ dirac() + normal(0, 0.01)", 40, 40, 3, 3, seed=1)
    assert float((kernel - nn.init.dirac_(torch.empty(40, 40, 3, 3))).std()) == pytest.approx(0.01, rel=0.02)


# ---------------------------------------------------------------------------------------------------- fans


def test_given_fans_take_the_place_of_the_shapes() -> None:
    shape = (8, 6, 3, 3)
    same = {
        "xavier_uniform(fan_in=40, fan_out=24)": "xavier_uniform()",
        "xavier_normal(fan_in=40, fan_out=24)": "xavier_normal()",
        "kaiming_uniform(fan_in=40)": "kaiming_uniform()",
        "kaiming_normal(mode=fan_out, fan_out=24)": "kaiming_normal(mode=fan_out)",
        "variance_scaling(fan_in=40)": "variance_scaling()",
        "variance_scaling(mode=fan_avg, fan_in=40, fan_out=24)": "variance_scaling(mode=fan_avg)",
        "variance_scaling(fan=40)": "variance_scaling()",
        "lecun_normal(fan_in=40)": "lecun_normal()",
        "lecun_uniform(fan_in=40)": "lecun_uniform()",
    }
    plan = lambda rule, *size: initdsl.plan(Tensors(w=torch.zeros(size)), f"net.w ~ {rule}")["w"].distribution  # noqa: E731
    for given, plain in same.items():
        assert plan(given, *shape) == plan(given, 7) == plan(plain, 24, 40), given
        with pytest.raises(initdsl.InitDSLError, match="at least 2 dimensions"):
            plan(plain, 7)
    with pytest.raises(initdsl.RuleError, match="`fan_in` must be greater than 0, got 0"):
        plan("xavier_uniform(fan_in=0)", 3, 4)


# What a layer computes with, where torch's fans are not that: the table of docs/initializers.md
RIGHT_FANS: list[tuple[Callable[[], nn.Module], str, Callable[[nn.Module], torch.Tensor]]] = [
    (lambda: nn.Conv2d(24, 36, 3, groups=4, bias=False), "Conv2d.weight ~ lecun_normal()",
     lambda m: m(torch.randn(8, 24, 12, 12))),
    (lambda: nn.Conv2d(48, 48, 3, groups=48, bias=False), "Conv2d.weight ~ lecun_normal()",
     lambda m: m(torch.randn(8, 48, 12, 12))),
    (lambda: nn.ConvTranspose2d(24, 40, 4, stride=2, bias=False),
     "ConvTranspose2d.weight ~ lecun_normal(fan_in=in_channels // groups * kernel_size[0] * kernel_size[1] / (stride[0] * stride[1]))",
     lambda m: m(torch.randn(8, 24, 12, 12))[..., 4:-4, 4:-4]),
    (lambda: nn.ConvTranspose2d(24, 40, 3, groups=4, bias=False),
     "ConvTranspose2d.weight ~ lecun_normal(fan_in=in_channels // groups * kernel_size[0] * kernel_size[1] / (stride[0] * stride[1]))",
     lambda m: m(torch.randn(8, 24, 12, 12))[..., 4:-4, 4:-4]),
    (lambda: nn.Embedding(300, 64), "Embedding.weight ~ lecun_normal(fan_in=1)", lambda m: m(torch.arange(300))),
    (lambda: nn.Linear(64, 3 * 64, bias=False), "Linear.weight ~ lecun_normal()", lambda m: m(torch.randn(300, 64))),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(RIGHT_FANS)))
def test_right_fans_keep_the_variance(case: int) -> None:
    make, rule, run = RIGHT_FANS[case]
    torch.manual_seed(0)
    variances = []
    for seed in range(6):
        module = make()
        initdsl.apply(module, rule, seed=seed)
        with torch.no_grad():
            variances.append(float(run(module).var()))
    assert sum(variances) / 6 == pytest.approx(1, rel=0.06)


def test_fans_of_conv1d_and_backward() -> None:
    """The gradient keeps its variance under fan_out: of one group, and of Conv1D's swapped matrix."""
    conv1d = pytest.importorskip("transformers.pytorch_utils").Conv1D
    module = conv1d(90, 60)
    initdsl.apply(module, "Conv1D.weight ~ lecun_normal(fan_in=fan_out); Conv1D.bias = 0", seed=0)
    assert float(module(torch.randn(500, 60)).detach().var()) == pytest.approx(1, rel=0.1)
    conv = nn.Conv2d(24, 36, 3, groups=4, padding=1, padding_mode="circular", bias=False)
    initdsl.apply(conv, "Conv2d.weight ~ variance_scaling(mode=fan_out, fan_out=fan_out // groups)", seed=0)
    x = torch.randn(8, 24, 12, 12, requires_grad=True)
    out = conv(x)
    (gradient,) = torch.autograd.grad(out, x, torch.randn_like(out))
    assert float(gradient.var()) == pytest.approx(1, rel=0.1)


def test_fused_matrices() -> None:
    """q, k and v of one matrix have one fan_in, and each its own fan_out: a view, or the fan said, tells it."""
    net = nn.Linear(32, 96)
    alone = initdsl.plan(nn.Linear(32, 32), "Linear.weight ~ xavier_uniform()")["weight"].distribution
    told = initdsl.plan(net, "Linear.weight ~ xavier_uniform(fan_out=fan_out / 3)")["weight"].distribution
    assert told == alone
    initdsl.apply(net, "Linear.weight as (3, 32, -1)[*] ~ xavier_uniform()", seed=0)
    assert alone is not None
    assert 0.95 * alone.bounds[1] < float(net.weight.detach().abs().max()) < alone.bounds[1]


# ------------------------------------------------------------------------------------- initializers are values


def far(tensor: torch.Tensor, by: float = 1.0) -> None:
    tensor.fill_(by)


@initdsl.initializer(name="far_off", min_ndim=1, check=lambda shape, by: None)
def named_otherwise(tensor: torch.Tensor, by: float = 1.0) -> None:
    """Set every element to a number."""
    tensor.fill_(by)


@pytest.mark.parametrize("name", default_registry())
def test_initializers_compare_pickle_and_copy(name: str) -> None:
    item = default_registry()[name]
    assert pickle.loads(pickle.dumps(item)) == item
    assert hash(pickle.loads(pickle.dumps(item))) == hash(item)
    assert copy.deepcopy(item) == copy.copy(item) == item
    assert [other for other in default_registry().values() if other == item] == [item] * (1 + len(item.aliases))


def test_own_initializers_pickle_by_reference() -> None:
    far_off = default_registry()["far_off"]
    other = default_registry().extended({"other": far, "bounded": named_otherwise})
    assert b"named_otherwise" in pickle.dumps(far_off)
    assert other["bounded"].min_ndim == 1
    for item in (far_off, other["other"], other["bounded"]):
        assert pickle.loads(pickle.dumps(item)) == item
        assert pickle.loads(pickle.dumps(item)).parameters == item.parameters
    assert other["other"] == default_registry().extended({"other": far})["other"]
    assert other["other"] != default_registry().extended({"another": far})["another"]


def test_functions_without_a_place_do_not_pickle() -> None:
    def inner(tensor: torch.Tensor) -> None: ...

    own = default_registry().extended({"plain": lambda tensor: None, "inner": inner})
    for name in ("plain", "inner"):
        assert copy.deepcopy(own[name]) == own[name]
        with pytest.raises(
            pickle.PicklingError, match=f"initializer `{name}` can't be pickled.*at the top of a module"
        ):
            pickle.dumps(own[name])


def test_arguments_are_a_value() -> None:
    arguments = bind(default_registry()["normal"], {"std": 2})
    assert arguments == {"mean": 0.0, "std": 2.0}
    assert hash(arguments) == hash(bind(default_registry()["normal"], {"std": 2.0, "mean": 0.0}))
    assert pickle.loads(pickle.dumps(arguments)) == copy.deepcopy(arguments) == arguments
    assert isinstance(pickle.loads(pickle.dumps(arguments)), Arguments)
    for change in (
        lambda: arguments.update(std=1.0),
        lambda: arguments.__setitem__("std", 1.0),
        lambda: arguments.pop("std"),
        lambda: arguments.clear(),
        lambda: arguments.__ior__({"std": 1.0}),
        lambda: arguments.__delitem__("std"),
    ):
        with pytest.raises(TypeError, match="can't be changed"):
            change()


def test_parameters_may_have_the_names_that_pydantic_uses() -> None:
    def odd(
        tensor: torch.Tensor, json: float = 1, schema: float = 2, model_config: float = 3, _scale: float = 4
    ) -> None:
        tensor.fill_(json + 10 * schema + 100 * model_config + 1000 * _scale)

    layer = nn.Linear(2, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        initdsl.apply(
            layer, "net.bias = 0; net.weight ~ odd(json=5, schema=6, model_config=7)", initializers={"odd": odd}
        )
        initdsl.apply(layer, "net.bias = 0; net.weight ~ odd(_scale=9)", initializers={"odd": odd})
    assert (layer.weight == 9000 + 321).all()
    with pytest.raises(initdsl.RuleError, match="`model_config` must be a number, got"):
        initdsl.plan(layer, "net.weight ~ odd(model_config=true)", initializers={"odd": odd})


def test_arguments_that_are_equal_and_not_the_same_are_told_apart() -> None:
    constant = default_registry()["constant"]
    assert math.copysign(1, bind(constant, {"val": 0.0})["val"]) == 1
    assert math.copysign(1, bind(constant, {"val": -0.0})["val"]) == -1
    free = default_registry().extended({"free": lambda tensor, x=None: None})["free"]
    assert [type(bind(free, {"x": value})["x"]) for value in (1, 1.0, True)] == [int, float, bool]
    assert [type(bind(free, {"x": (value,)})["x"][0]) for value in (1, 1.0, True)] == [int, float, bool]


def test_without_docstrings() -> None:
    code = "import initdsl, initdsl.initializers as i; print(i.default_registry()['normal'].signature)"
    shown = subprocess.run([sys.executable, "-OO", "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "normal(mean=0, std=1)\n"


# ---------------------------------------------------------------------- shapes, layouts and generators of whole tensors

WHOLE = {
    "eye": ({}, [(3, 3), (1, 4), (4, 1), (0, 3), (3, 0)]),
    "dirac": ({}, [(3, 3, 3), (2, 4, 1), (4, 2, 2, 2), (2, 0, 3)]),
    "orthogonal": ({"gain": 1.5}, [(4, 4), (3, 5), (5, 3), (1, 6), (6, 1), (2, 2, 2), (0, 3), (3, 0), (2, 0, 3)]),
    "sparse": ({"sparsity": 0.3}, [(5, 5), (1, 4), (7, 1), (0, 3), (3, 0)]),
    "delta_orthogonal": ({}, [(4, 4, 3), (5, 3, 3, 3), (2, 1, 2)]),
    "icnr": ({"upscale_factor": 2}, [(4, 4, 3, 3), (8, 3, 1, 1), (2, 2, 2)]),
    "sinusoidal": ({}, [(6, 6), (1, 4), (5, 3), (2, 4, 4)]),
    "lsuv": ({}, [(4, 4), (3, 5)]),
    "activation_norm": ({}, [(4, 4), (3, 5), (4,)]),
}


class Once:
    """A generator of streams: that each fill takes one of its own."""

    def __init__(self) -> None:
        self.draw = 0

    def fill(self, tensor: torch.Tensor, distribution: Any) -> torch.Tensor:
        streams.fill(tensor, distribution, streams.key(5, "w", self.draw))
        self.draw += 1
        return tensor


def laid_out(shape: tuple[int, ...], layout: str, dtype: torch.dtype) -> torch.Tensor:
    if layout == "reversed":
        return torch.full(shape[::-1], math.nan, dtype=dtype).permute(*reversed(range(len(shape))))
    if layout == "strided":
        return torch.full((*shape[:-1], 2 * shape[-1]), math.nan, dtype=dtype)[..., ::2]
    return torch.full(shape, math.nan, dtype=dtype)


@pytest.mark.parametrize("name", [name for name, item in BUILTIN.items() if not item.elementwise])
@pytest.mark.parametrize("source", ["torch", "generator", "streams"])
def test_whole_tensors_of_every_shape_and_layout(name: str, source: str) -> None:
    """The values depend on neither the memory they are written to nor torch's default device, and are all written."""
    item, (given, shapes) = BUILTIN[name], WHOLE[name]
    arguments = bind(item, given)

    def values(shape: tuple[int, ...], layout: str, dtype: torch.dtype) -> torch.Tensor:
        tensor = laid_out(shape, layout, dtype)
        torch.manual_seed(1)
        drawn_from = {"torch": None, "generator": torch.Generator().manual_seed(2), "streams": Once()}[source]
        with torch.device("meta"):
            item.function(tensor, **arguments, **({"generator": drawn_from} if item.takes_generator else {}))
        return tensor

    for shape in shapes:
        item.check_shape(shape, arguments)
        for dtype in (torch.float32, torch.float64):
            expected = values(shape, "plain", dtype)
            assert bool(expected.isfinite().all()), (shape, dtype)
            for layout in ("reversed", "strided"):
                if source == "streams" or not item.draws:
                    assert torch.equal(values(shape, layout, dtype), expected), (shape, dtype, layout)
                else:  # torch's own draws follow the memory
                    assert bool(values(shape, layout, dtype).isfinite().all()), (shape, dtype, layout)


def test_a_fixed_order_ends_with_its_block() -> None:
    before = torch.get_num_threads()
    with fixed_order():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
