"""What happens when there is no memory: a fill goes on with less of it, or everything is as it was."""

from __future__ import annotations

import sys
import textwrap
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import initdsl
from initdsl.initializers import Normal
from initdsl.streams import backend, keys, team
from initdsl.streams import tensors as streams
from initdsl.text.failures import out_of_memory
from tests.filling.test_atomicity import RULES, Net
from tests.support.code import PACKAGE
from tests.support.nets import same, snapshot
from tests.support.processes import python

Place = tuple[str, int]


def places() -> Iterator[Place]:
    """Yield the lines of the package that are being carried out, the innermost first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.startswith(str(PACKAGE)):
            yield frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back


class Shortage(TorchDispatchMode):
    """Operations of this thread that make tensors fail: the n-th, or all that would take more than so many bytes."""

    def __init__(self, nth: int | None = None, most: int | None = None):
        super().__init__()
        self.nth, self.most, self.made = nth, most, 0
        self.places: list[tuple[Place, ...]] = []  # from where each tensor was made

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        found = function(*arguments, **(options or {}))
        # a view or a tensor that was handed in is no new one
        fresh = isinstance(found, torch.Tensor) and not any(r.alias_info for r in function._schema.returns)
        if fresh and found.device.type == "cpu":
            self.made += 1
            self.places.append(tuple(places()))
            if self.made == self.nth or (self.most is not None and found.nbytes > self.most):
                raise torch.OutOfMemoryError("out of memory")
        return found


LITTLE = ("6_000_000",)
LIMITED = """
    import resource, sys
    import torch, initdsl
    from torch import nn
    torch.set_num_threads(2)
    def net():  # of doubles, which are slow, fewer are as many bytes as one chunk's buffers
        by, dtypes = (4, [torch.double] * 2) if "double" in sys.argv else (1, [torch.float, torch.bfloat16])
        sizes = (100, 300_000, 3_000_000 // by, 5_000_000 // by)
        made = nn.ParameterDict({f"p{i}": torch.zeros(n, dtype=dtypes[0]) for i, n in enumerate(sizes)})
        made["turned"] = nn.Parameter(torch.zeros(1500 // by, 1000, dtype=dtypes[0]).t())
        made["short"] = nn.Parameter(torch.zeros(1500 // by, 1000, dtype=dtypes[1]))
        return made
    expected, short = net(), net()
    initdsl.apply(expected, RULES, seed=7)
    plan = initdsl.plan(short, RULES, seed=7)
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    limit = size + int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
    plan.apply()
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
    for name, value in expected.items():
        assert torch.equal(value, short[name]), name
    print("the same")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of Linux")
@pytest.mark.parametrize(
    ("draw", "words"),
    [
        pytest.param(draw, words, marks=() if draw == "normal(0, 1)" or words == LITTLE else pytest.mark.long)
        for draw in ("normal(0, 1)", "uniform(0, 1)", "trunc_normal(0, 1)", "rademacher()")
        for words in (LITTLE, ("20_000_000",), (*LITTLE, "double"))
    ],
)
def test_a_seeded_fill_goes_on_with_little_memory(draw: str, words: tuple[str, ...]) -> None:
    """6 MB are less than one more thread's stack and less than one chunk's buffers."""
    code = textwrap.dedent(LIMITED).replace("RULES", repr(f"net.* ~ {draw}"))
    done = python("-c", code, *words)
    assert done.stdout == "the same\n", done.stderr


@pytest.mark.parametrize("most", [1 << 16, 1 << 20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("what", ["normal(0, 1)", "uniform(-1, 1)", "trunc_normal(0, 1)", "bernoulli(0.5)"])
def test_chunks_become_smaller(what: str, dtype: torch.dtype, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INITDSL_KERNEL", "torch")
    expected, short = (torch.nn.ParameterList([torch.zeros(700, 900, dtype=dtype).t()]) for _ in range(2))
    initdsl.apply(expected, f"net.* ~ {what}", seed=3)
    plan = initdsl.plan(short, f"net.* ~ {what}", seed=3)
    with Shortage(most=most):
        plan.apply()
    assert torch.equal(expected[0], short[0])


def test_too_little_for_the_smallest_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INITDSL_KERNEL", "torch")
    net = torch.nn.ParameterList([torch.zeros(10), torch.zeros(700, 900)])
    plan = initdsl.plan(net, "net.* ~ normal(0, 1)", seed=3)
    with Shortage(most=100), pytest.raises(initdsl.ApplyError, match="the model is partly filled") as caught:
        plan.apply()
    assert "apply the rules again" in str(caught.value)
    plan.apply()
    other = torch.nn.ParameterList([torch.zeros(10), torch.zeros(700, 900)])
    initdsl.apply(other, "net.* ~ normal(0, 1)", seed=3)
    assert all(map(torch.equal, net, other))


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.long)], ids=["some", "every"])
@pytest.mark.parametrize("seed", [None, 7])
def test_what_can_fail_is_put_back(seed: int | None, every: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The n-th tensor that is made can't be: the first of every so manieth line of the package, or every one."""
    monkeypatch.setenv("INITDSL_KERNEL", "torch")

    def made() -> Net:
        torch.manual_seed(0)
        return Net()

    with Shortage() as counted:
        initdsl.plan(made(), RULES, seed=seed).apply()
    numbers = range(1, counted.made + 1)
    firsts = sorted(dict(zip(reversed(counted.places), reversed(numbers), strict=True)).values())
    net = made()
    before = snapshot(net)
    said: list[str] = []
    # what draws from a seed makes many
    for n in numbers if every else firsts[:: 3 if seed else 1]:
        plan = initdsl.plan(net, RULES, seed=seed)
        try:
            with Shortage(nth=n):
                plan.apply()
        except initdsl.ApplyError as error:
            said.append(str(error))
            same(before, snapshot(net))
        else:  # a seeded draw went on
            net = made()
            before = snapshot(net)
    assert len(said) > 20
    assert all("out of memory" in each or "not enough memory" in each for each in said)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("last", [0, 1])
def test_threads_that_can_not_start(last: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of them; or a second one, while the first is at work on the same memory."""
    monkeypatch.setenv("INITDSL_KERNEL", "torch")
    backend.prepare()
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    expected, short = torch.zeros(1 << 22, dtype=dtype), torch.zeros(1 << 22, dtype=dtype)
    streams.fill(expected, Normal(0.0, 1.0), keys.key(1, "a"))
    start, started = threading.Thread.start, []

    def refuse(self: threading.Thread) -> None:
        if len(started) == last:
            raise RuntimeError("can't start new thread")
        started.append(self)
        start(self)

    try:
        with team():
            monkeypatch.setattr(threading.Thread, "start", refuse)
            streams.fill(short, Normal(0.0, 1.0), keys.key(1, "a"))
            kept = short.clone()
        assert torch.equal(expected, kept)
        assert torch.equal(expected, short)  # what was queued for the second has not begun since
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    "make", [lambda: torch.empty(1 << 60), lambda: bytearray(1 << 60), lambda: torch.zeros(2**45).numpy().copy()]
)
def test_what_says_that_there_is_no_memory(make: Any) -> None:
    with pytest.raises((MemoryError, RuntimeError)) as caught:
        make()
    assert out_of_memory(caught.value)
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
