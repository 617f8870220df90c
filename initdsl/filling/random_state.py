"""The global random states of torch, numpy and Python: kept, seeded, put back."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from initdsl import streams

__all__ = [
    "RandomStates",
    "drawing_from",
    "everything_unmoved",
    "isolated",
    "put_back",
    "random_states",
    "torch_isolated",
    "unmoved",
]


# what sets a generator's state, and the state it had
RandomStates = list[tuple[Callable[[Any], object], Any]]


class _Generator(NamedTuple):
    """A global generator of the CPU: how its state is read, set and compared."""

    read: Callable[[], Any]
    write: Callable[[Any], object]
    equal: Callable[[Any, Any], bool]


def _generators() -> list[_Generator]:
    """Return the global generators of torch and Python, and numpy's if it is there."""
    generators = [
        _Generator(torch.random.get_rng_state, torch.random.set_rng_state, torch.equal),
        _Generator(random.getstate, random.setstate, lambda a, b: a == b),
    ]
    numpy = sys.modules.get("numpy")
    if numpy is not None and hasattr(numpy, "random"):
        read = lambda: numpy.random.get_state(legacy=False)  # noqa: E731
        generators.append(_Generator(read, numpy.random.set_state, _same_numpy_state))
    return generators


def _same_numpy_state(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a["state"]["pos"] == b["state"]["pos"] and bool((a["state"]["key"] == b["state"]["key"]).all())


def random_states(cuda: bool = False) -> RandomStates:
    """Return the states of all global generators of the CPU; with `cuda`, where there is one, those of CUDA's too."""
    states: RandomStates = [(generator.write, generator.read()) for generator in _generators()]
    if cuda and torch.cuda.is_available():
        states.append((torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()))
    return states


def put_back(states: RandomStates) -> None:
    """Set the generators to the states they had."""
    for write, state in states:
        write(state)


@contextmanager
def everything_unmoved() -> Iterator[None]:
    """Put all random states back afterwards: torch's on every device, Python's, numpy's."""
    states = random_states(cuda=True)
    try:
        yield
    finally:
        put_back(states)


@contextmanager
def isolated(key: streams.StreamKey | None) -> Iterator[None]:
    """Seed the global generators of the CPU from a key (or leave them running), and put them back afterwards."""
    states = random_states()
    try:
        with torch_isolated(key) as seed:
            if seed is not None:
                random.seed(seed)
                if "numpy" in sys.modules:
                    sys.modules["numpy"].random.seed(seed & 0xFFFFFFFF)
            yield
    finally:
        put_back(states)


@contextmanager
def torch_isolated(key: streams.StreamKey | None) -> Iterator[int | None]:
    """As `isolated`, with torch's generator alone, in a tenth of the time; yield the seed that it gets."""
    before = torch.default_generator.get_state()
    seed = None if key is None else streams.generator(key).initial_seed()
    try:
        if seed is not None:
            torch.default_generator.manual_seed(seed)
        yield seed
    finally:
        torch.default_generator.set_state(before)


@contextmanager
def drawing_from(generator: torch.Generator | None) -> Iterator[None]:
    """Let what draws from the global generator of a device draw from another one of it; None: from the global one."""
    if generator is None:
        yield
        return
    default = _default_of(generator.device)
    before = default.get_state()
    default.set_state(generator.get_state())
    try:
        yield
    finally:
        generator.set_state(default.get_state())
        default.set_state(before)


def _default_of(device: torch.device) -> torch.Generator:
    """Return the global generator of a device."""
    if device.type == "cpu":
        return torch.default_generator
    torch.cuda.init()  # type: ignore[no-untyped-call]
    return torch.cuda.default_generators[device.index or 0]


@contextmanager
def unmoved() -> Iterator[None]:
    """Refuse a function that draws from a global generator; whoever fills puts that back with everything else."""
    states = [(generator, generator.read()) for generator in _generators()]
    yield
    for generator, state in states:
        if not generator.equal(state, generator.read()):
            raise RuntimeError(
                "it drew from a global generator, which a seed does not reach: draw from its argument `generator`"
            )
