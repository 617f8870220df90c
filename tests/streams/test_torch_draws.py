"""Draws without a seed: the numbers of torch's generator, and the state it is left in, bit by bit, whoever draws them."""

from __future__ import annotations

import copy
import ctypes
import platform
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

import hatch_build
import initdsl
from initdsl import streams
from initdsl.initializers import Constant, Distribution, Normal, TruncatedNormal, Uniform
from initdsl.streams import backend, native, torch_draws
from tests.streams.conftest import choose, said_by

STREAMS = Path(native.__file__).parent

draws = pytest.mark.skipif(
    not (isinstance(kernel := backend._loaded(), native.Kernel) and kernel.draws_as_torch),
    reason="no kernel was compiled that draws as torch does",
)

Draw = Callable[[torch.Tensor], object]

WAYS: dict[str, tuple[Distribution, Draw]] = {
    "normal": (Normal(0.1, 0.02), lambda t: t.normal_(0.1, 0.02)),
    "standard normal": (Normal(0, 1), lambda t: t.normal_()),
    "normal without spread": (Normal(3, 0), lambda t: t.normal_(3, 0)),
    "large normal": (Normal(-1e30, 1e38), lambda t: t.normal_(-1e30, 1e38)),
    "uniform": (Uniform(-0.3, 0.1), lambda t: t.uniform_(-0.3, 0.1)),
    "uniform between neighbours": (Uniform(16777216, 16777217), lambda t: t.uniform_(16777216, 16777217)),
    "uniform of one number": (Uniform(0.3, 0.3), lambda t: t.uniform_(0.3, 0.3)),
    "wide uniform": (Uniform(-1e38, 1e38), lambda t: t.uniform_(-1e38, 1e38)),
}


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().contiguous().view(-1).view(torch.uint8)


def drawn_both_ways(tensors: list[torch.Tensor], distribution: Distribution, draw: Draw, before: int) -> bool:
    """Whether the kernel draws for tensors what torch does, after so many words were taken from its generator."""
    others = [tensor.clone() for tensor in tensors]
    torch.manual_seed(before)
    torch.empty(before).uniform_()
    start = torch.get_rng_state()
    assert streams.draw_as_torch(tensors, distribution)
    state = torch.get_rng_state()
    torch.set_rng_state(start)
    for other in others:
        draw(other)
    same_state = torch.equal(state, torch.get_rng_state())
    return same_state and all(torch.equal(bits(a), bits(b)) for a, b in zip(tensors, others, strict=True))


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The kernel has been tried in this process, so it draws few numbers too."""
    monkeypatch.setattr(torch_draws, "LEAST_DRAWN", 1)
    monkeypatch.setattr(torch_draws, "LEAST_TO_TRY", 1)
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)


@draws
@pytest.mark.parametrize("way", WAYS)
def test_numbers_and_state_are_torchs(way: str, tried: None) -> None:
    counts = [16, 17, 31, 32, 48, 623, 624, 625, 1248, 1249, 8191, 8192, 8193, 8208, 20_001]
    for number, count in enumerate(counts):
        assert drawn_both_ways([torch.zeros(count)], *WAYS[way], before=number * 157), count
    for before in (0, 1, 623, 624, 625, 1247, 1248):
        assert drawn_both_ways([torch.zeros(1000)], *WAYS[way], before=before), before


@draws
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("way", ["normal", "uniform"])
def test_on_several_threads(way: str, threads: int, tried: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_draws, "THREADS_FROM", 1 << 16)
    monkeypatch.setattr(torch_draws, "PART", 1 << 12)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for count in (1 << 16, (1 << 16) + 5, (1 << 17) - 1, 300_000):
            assert drawn_both_ways([torch.zeros(count)], *WAYS[way], before=count % 1000)
    finally:
        torch.set_num_threads(before)


@draws
@pytest.mark.parametrize("way", ["normal", "uniform"])
def test_many_tensors_at_once(way: str, tried: None) -> None:
    tensors = [torch.zeros(16 + number) for number in range(200)]
    assert drawn_both_ways(tensors, *WAYS[way], before=5)


@draws
def test_a_number_that_torch_kept_stays(tried: None) -> None:
    """Of few numbers torch draws two at a time, and its generator keeps the second one."""
    found = []
    for fill in (lambda t: streams.draw_as_torch([t], Normal(0, 1)), torch.Tensor.normal_):
        torch.manual_seed(1)
        first = torch.randn(3)
        assert fill(torch.empty(100)) is not False
        found.append(torch.cat([first, torch.randn(3), torch.randn(20)]))
    assert torch.equal(*found)


NOT_TAKEN: dict[str, tuple[torch.Tensor, Distribution]] = {
    "double": (torch.zeros(100, dtype=torch.float64), Normal(0, 1)),
    "bfloat16": (torch.zeros(100, dtype=torch.bfloat16), Uniform(0, 1)),
    "not in one piece": (torch.zeros(100, 2)[:, 0], Normal(0, 1)),
    "turned": (torch.zeros(100, 2).T, Normal(0, 1)),
    "a normal of few elements": (torch.zeros(15), Normal(0, 1)),
    "no elements": (torch.zeros(0), Uniform(0, 1)),
    "on the meta device": (torch.zeros(100, device="meta"), Normal(0, 1)),
    "a truncated normal": (torch.zeros(100), TruncatedNormal(0, 1, -2, 2)),
    "a number": (torch.zeros(100), Constant(1)),
    "infinite bounds": (torch.zeros(100), Uniform(-3.4e38, 3.4e38)),
}


@pytest.mark.parametrize("name", NOT_TAKEN)
def test_what_torch_draws_itself(name: str, tried: None) -> None:
    tensor, distribution = NOT_TAKEN[name]
    state = torch.get_rng_state()
    assert not streams.draw_as_torch([tensor], distribution)
    assert torch.equal(torch.get_rng_state(), state)
    assert tensor.is_meta or not tensor.any()


# ---- models


class Mixed(nn.Module):
    """Layers of all that there is: large and small, doubles, tied, frozen, a view of another."""

    def __init__(self) -> None:
        super().__init__()
        self.small = nn.ModuleList(nn.Linear(20, 30) for _ in range(40))
        self.large = nn.Linear(1500, 1501)
        self.double = nn.Linear(300, 300).double()
        self.conv = nn.Conv2d(64, 64, 5)
        self.few = nn.Linear(3, 2)
        self.turned = nn.Parameter(torch.zeros(500, 400).T)


RULES = """
Linear.weight ~ normal(0, 0.02); Linear.bias ~ uniform(-0.1, 0.1)
Conv2d.weight ~ kaiming_normal(mode=fan_out, nonlinearity=relu); Conv2d.bias = 0
net.turned ~ xavier_uniform()
net.large.weight[3:1400] ~ normal(1, 2)
"""


def by_hand(net: nn.Module) -> None:
    def fill(module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.02)
            if module is net.large:
                with torch.no_grad():
                    module.weight[3:1400].normal_(1, 2)
            nn.init.uniform_(module.bias, -0.1, 0.1)
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)
        if module is net:
            nn.init.xavier_uniform_(net.turned)

    net.apply(fill)


@draws
@pytest.mark.parametrize("generator", [False, True])
def test_a_model_is_filled_as_by_hand(generator: bool, tried: None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    drawn = torch_draws._drawn

    def watched(*arguments: Any) -> bool:
        asked.append(drawn(*arguments))
        return asked[-1]

    monkeypatch.setattr(torch_draws, "_drawn", watched)
    net = Mixed()
    other = copy.deepcopy(net)
    torch.manual_seed(3)
    own = torch.Generator().manual_seed(3) if generator else None
    initdsl.apply(net, RULES, generator=own)
    state = torch.get_rng_state() if own is None else own.get_state()
    torch.manual_seed(3)
    by_hand(other)
    for name, value in net.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    assert torch.equal(state, torch.get_rng_state())
    assert len(asked) > 10
    assert all(asked)


@draws
def test_writes_are_counted(tried: None) -> None:
    net = nn.Linear(100, 100)
    versions = [p._version for p in net.parameters()]
    initdsl.apply(net, "Linear.weight ~ normal(); Linear.bias ~ uniform(0, 1)")
    assert all(p._version > before for p, before in zip(net.parameters(), versions, strict=True))


# ---- when torch has to draw after all


@draws
def test_a_thread_that_draws_meanwhile(tried: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it drew is not drawn again: torch fills, from where that thread has left its generator."""
    kernel = backend._loaded()
    assert isinstance(kernel, native.Kernel)
    torch_draws._tried[kernel, Normal] = torch_draws.NORMAL
    real = kernel.torch_draws

    def slow(*arguments: Any) -> None:
        real(*arguments)
        thread = threading.Thread(target=torch.rand, args=(10,))
        thread.start()
        thread.join()

    monkeypatch.setattr(kernel, "torch_draws", slow)
    net = nn.Linear(100, 100)
    torch.manual_seed(0)
    initdsl.apply(net, "Linear.weight ~ normal(); Linear.bias = 0")
    state = torch.get_rng_state()
    torch.manual_seed(0)
    torch.rand(10)
    assert torch.equal(net.weight, torch.empty(100, 100).normal_())
    assert torch.equal(state, torch.get_rng_state())


@draws
def test_threads_of_ours_take_turns(tried: None) -> None:
    nets = [nn.Linear(300, 300) for _ in range(8)]
    torch.manual_seed(0)
    threads = [
        threading.Thread(target=initdsl.apply, args=(net, "net.weight ~ normal(); net.bias = 0")) for net in nets
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state = torch.get_rng_state()
    torch.manual_seed(0)
    wanted = {tuple(torch.empty(90_000).normal_()[:5].tolist()) for _ in nets}
    assert {tuple(net.weight.view(-1)[:5].tolist()) for net in nets} == wanted
    assert torch.equal(state, torch.get_rng_state())


class Seen(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.__name__)
        return func(*args, **(kwargs or {}))


def test_a_mode_sees_torchs_calls(tried: None) -> None:
    with Seen() as seen:
        initdsl.apply(nn.Linear(100, 100), "Linear.weight ~ normal(); Linear.bias = 0")
    assert "normal_" in seen.names


@draws
@pytest.mark.parametrize("choice", ["torch", "native", None])
def test_the_choice_of_the_engine_counts(choice: str | None, tried: None, monkeypatch: pytest.MonkeyPatch) -> None:
    choose(monkeypatch, choice)
    assert streams.draw_as_torch([torch.zeros(100)], Normal(0, 1)) is (choice != "torch")


def test_nothing_is_said_where_there_is_no_kernel(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(backend, "_loaded", lambda: native.KernelError("no compiled kernel is installed"))
    backend.warn.cache_clear()
    for choice in ("native", None):
        choose(monkeypatch, choice)
        initdsl.apply(nn.Linear(400, 400), "Linear.weight ~ normal(); Linear.bias = 0")
    assert not recwarn.list


# ---- another torch, another machine


# what another compiler would make of a line, or another torch do
OTHERS = {
    "a sum in another order": ("fused(y * z, square, power * -2.12194440e-4f)", "fused(power, -2.12194440e-4f, y * z * square)", Normal),
    "a product joined with another sum": ("fused(cosine * square, square, -(square * 0.5f))", "fused(-square, 0.5f, cosine * square * square)", Normal),
    "no sum joined at the end": ("fused(radius * c, std, mean)", "(radius * c * std + mean)", Normal),
    "no sum joined in a uniform": ("0x1p-24f, width, low)", "0x1p-24f, width, 0.0f) + low", Uniform),
    "what rounds to the upper bound is another number": ("bits_of(x) == never ? low : x", "bits_of(x) == bits_of(high) ? 0.0f : x", Uniform),
    "the last ones are not drawn anew": ("if (count % GROUP) {", "if (0) {", Normal),
    "another word": ("y << 7 & 0x9D2C5680u", "y << 7 & 0x9D2C5600u", Uniform),
    "a word is left out": ("t->left -= now;", "t->left -= now - (count == 457);", Uniform),
}  # fmt: skip


def built(folder: Path, text: str) -> native.Kernel:
    """A kernel from another text of the draws."""
    for name in ("compiler.h", "kernel.c"):
        shutil.copyfile(STREAMS / name, folder / name)
    (folder / "torch_draws.c").write_text(text)
    words = hatch_build.command([folder / "kernel.c", folder / "torch_draws.c"], folder / native.NAME)
    assert words is not None
    subprocess.run(words, check=True, capture_output=True)
    return native.Kernel(ctypes.CDLL(str(folder / native.NAME)))


USUALLY = ("a sum in another order", "no sum joined in a uniform", "a word is left out")


@draws
@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in USUALLY else pytest.mark.long) for n in OTHERS])
def test_other_numbers_are_found_before_any_is_drawn(
    name: str, tried: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    was, becomes, kind = OTHERS[name]
    text = (STREAMS / "torch_draws.c").read_text()
    assert was in text
    other = built(tmp_path, text.replace(was, becomes))
    assert torch_draws.kind_of_torch(other, kind) is None
    monkeypatch.setattr(backend, "_loaded", lambda: other)
    rule, draw = {
        Normal: ("normal(0.1, 0.02)", WAYS["normal"][1]),
        Uniform: ("uniform(-0.3, 0.1)", WAYS["uniform"][1]),
    }[kind]
    net = nn.Linear(401, 401)
    torch.manual_seed(7)
    initdsl.apply(net, f"Linear.weight ~ {rule}; Linear.bias = 0")
    torch.manual_seed(7)
    wanted = torch.empty(401, 401)
    draw(wanted)
    assert torch.equal(net.weight, wanted)


@draws
@pytest.mark.long
@pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="other machines have one kind of vectors"
)
@pytest.mark.parametrize("way", ["normal", "uniform", "uniform between neighbours"])
def test_shorter_vectors_draw_the_same(way: str, tried: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (STREAMS / "torch_draws.c").read_text()
    shorter = text.replace('__builtin_cpu_supports("avx512dq") &&', "0 &&")
    assert shorter != text
    kernel = built(tmp_path, shorter)
    monkeypatch.setattr(backend, "_loaded", lambda: kernel)
    for count in (16, 1001, 50_003):
        assert drawn_both_ways([torch.zeros(count)], *WAYS[way], before=count)


@draws
def test_this_machine_draws_as_torch() -> None:
    """What is built here is what torch draws here, or the tests above would be about nothing."""
    kernel = backend._loaded()
    assert isinstance(kernel, native.Kernel)
    assert torch_draws.kind_of_torch(kernel, Uniform) is not None
    assert torch_draws.kind_of_torch(kernel, Normal) is not None


DRIVER = r"""
#include "torch_draws.c"
#include <stdio.h>
#include <stdlib.h>
/* Draw what is exactly as large as it must be, from every place in the words. */
int main(void) {
    struct state state = {0};
    uint64_t sum = 0;
    if (!initdsl_draws_as_torch()) return 0;
    state.left = 1;
    for (int i = 0; i < WORDS; i++) state.word[i] = (uint32_t)(i * 2654435761u);
    for (int64_t kind = UNIFORM; kind <= NORMAL_OF_UNIFORMS; kind++)
        for (int64_t count = 16; count < 20000; count += count < 2000 ? 1 : 997) {
            float *out = malloc((size_t)count * sizeof *out);
            if (kind == NORMAL_OF_UNIFORMS)
                for (int64_t i = 0; i < count; i++) out[i] = (float)(i % 1000) * 0.001f;
            initdsl_torch_draws(kind, 1, &out, &count, -0.5f, 2.0f, kind == NORMAL_OF_UNIFORMS ? 0 : &state);
            for (int64_t i = 0; i < count; i++) {
                uint32_t bits;
                memcpy(&bits, out + i, 4);
                sum = sum * 31 + bits;
            }
            free(out);
        }
    printf("%llu\n", (unsigned long long)sum);
    return 0;
}
"""


def test_sanitizers_find_nothing(tmp_path: Path) -> None:
    """Address and undefined behaviour, over draws that are exactly as large as their memory; and the bits stay."""
    plain, sanitized = said_by(DRIVER, tmp_path)
    assert plain == sanitized
