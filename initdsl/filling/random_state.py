"""The random states of torch, numpy and Python: kept, seeded, put back."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from initdsl import streams

__all__ = ["everything_unmoved", "isolated", "unmoved"]


@contextmanager
def everything_unmoved() -> Iterator[None]:
    """Put all random states back afterwards: torch's on every device, Python's, numpy's."""
    import numpy

    states = random.getstate(), numpy.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(states[0])
        numpy.random.set_state(states[1])


def states() -> list[tuple[Callable[[], Any], Callable[[Any], Any], Callable[[Any, Any], bool]]]:
    """`(read, write, equal)` for the state of every global generator of the CPU: torch, Python, numpy if it is there."""
    import torch

    found: list[Any] = [
        (torch.random.get_rng_state, torch.random.set_rng_state, torch.equal),
        (random.getstate, random.setstate, lambda a, b: a == b),
    ]
    numpy = sys.modules.get("numpy")
    if numpy is not None and hasattr(numpy, "random"):
        found.append((
            lambda: numpy.random.get_state(legacy=False), numpy.random.set_state,
            lambda a, b: a["state"]["pos"] == b["state"]["pos"] and bool((a["state"]["key"] == b["state"]["key"]).all()),
        ))  # fmt: skip
    return found


@contextmanager
def isolated(key: streams.StreamKey | None) -> Iterator[None]:
    """Seed the global generators from a key (or leave them running), and put them back afterwards."""
    import torch

    saved = [(write, read()) for read, write, _ in states()]
    try:
        if key is not None:
            seed = streams.generator(key).initial_seed()
            torch.default_generator.manual_seed(seed)
            random.seed(seed)
            if "numpy" in sys.modules:
                sys.modules["numpy"].random.seed(seed & 0xFFFFFFFF)
        yield
    finally:
        for write, state in saved:
            write(state)


@contextmanager
def unmoved(name: str) -> Iterator[None]:
    """Refuse a function that draws from a global generator; the executor puts that back with everything else."""
    before = [(read, read(), equal) for read, _, equal in states()]
    yield
    for read, state, equal in before:
        if not equal(state, read()):
            raise RuntimeError(
                "it drew from a global generator, which a seed does not reach: draw from its argument `generator`"
            )
