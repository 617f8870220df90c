"""A model built a few times under different seeds: what each tensor is, in numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import nn

from initdsl import streams
from initdsl.filling.random_state import isolated
from initdsl.network.describe import describe
from initdsl.network.description import Live, Network
from initdsl.network.parts import ModuleInfo, TensorInfo
from initdsl.statistics.measures import Moments
from initdsl.statistics.moments import moments
from initdsl.text.diagnostic import Diagnostic, ResolveError

__all__ = ["Drawn", "OnProgress", "Sampled", "sample"]


# what is told what is being done, how much of that is done, and how much there is
OnProgress = Callable[[str, int, int], Any]


# elements of a small and of a large network: how often they are built
SMALL, LARGE = 3_000_000, 30_000_000


# elements of a tensor that are kept for the shape of its distribution
MOST = 50_000


# rows of a tensor that may hold one value each, as padding rows do
MOST_ROWS = 16


@dataclass(frozen=True)
class Drawn(Moments):
    """The moments of a drawn tensor's elements, and `some` of them, evenly chosen."""

    some: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64), repr=False)

    @property
    def reach(self) -> float:
        """The largest distance from zero."""
        return max(abs(self.low), abs(self.high))


@dataclass(frozen=True, eq=False)
class Sampled:
    """One tensor over all builds: `Sampled(tensor, module, "weight", "net[0].weight", "drawn", first, moments=moments)`.

    `kind` is "constant" (one value), "fixed" (values that no draw moves), "orthogonal" or "drawn". `rows` are the
    indices of dimension 0 that hold one value always, of a drawn tensor; `moments` leave them out. `default` has the
    moments that the module's own `reset_parameters` gives, or the constant. `parts` are equal stretches along dimension
    0 of a drawn tensor, where their scales or means differ.
    """

    tensor: TensorInfo
    module: ModuleInfo
    local: str
    label: str
    kind: str
    first: torch.Tensor = field(repr=False)
    value: float = 0.0
    rows: dict[int, float] = field(default_factory=dict)
    moments: Drawn | None = None
    gain: float = 1.0
    blocks: int = 1
    default: Drawn | float | None = None
    parts: tuple[Sampled, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tensor.shape


def sample(
    factory: Callable[[], nn.Module], count: int | None, seed: int, on_progress: OnProgress
) -> tuple[Network, Live, list[Sampled]]:
    """Build the model `count` times (by its size, if none is given), and look at every parameter.

    Raises TypeError where `factory` does not give a module, ResolveError where it gives another model each time.
    """
    network, live, values = _built(factory, seed, 0)
    total = sum(t.numel for t in network.tensors)
    count = count or (12 if total < SMALL else 5 if total < LARGE else 3)
    seen = {index: [tensor] for index, tensor in values.items()}
    for number in range(1, count):
        on_progress("building the model", number, count)
        again, live, more = _built(factory, seed, number)
        if again.fingerprint() != network.fingerprint():
            raise ResolveError(
                Diagnostic("not-the-same-network", "each call builds another model: names, shapes or ties differ")
            )
        for index, tensor in more.items():
            seen[index].append(tensor)
    defaults = _defaults(network, live, list(seen), count, seed)
    sampled = []
    for place, (index, tensors) in enumerate(seen.items()):
        on_progress("measuring tensors", place, len(seen))
        info = network.tensors[index]
        owner, local = info.owners[0]
        one = _sampled(info, network.modules[owner], local, network.label(info), tensors)
        if index in defaults:
            reset = _sampled(info, one.module, local, one.label, defaults[index], within=False)
            moments_of_reset = reset.moments if reset.rows == one.rows else None
            one = replace(one, default=reset.value if reset.kind == "constant" else moments_of_reset)
        sampled.append(one)
    return network, live, sampled


def _built(factory: Callable[[], nn.Module], seed: int, number: int) -> tuple[Network, Live, dict[int, torch.Tensor]]:
    with isolated(streams.key(seed, f"<sample {number}>")):
        net = factory()
    if not isinstance(net, nn.Module):
        raise TypeError(f"the factory returned {type(net).__name__}, not an nn.Module")
    network, live = describe(net)
    return network, live, _values(network, live)


def _values(network: Network, live: Live) -> dict[int, torch.Tensor]:
    """Return the parameters that rules would name: computed weights in place of what they are computed from."""
    behind = {i for tensor in network.tensors if tensor.kind == "parametrized" for i in network.originals(tensor)}
    values = {}
    for tensor in network.tensors:
        if (
            tensor.kind == "buffer"
            or tensor.index in behind
            or not tensor.floating
            or tensor.problem
            or not tensor.numel
        ):
            continue
        held = live.tensors[tensor.index]
        if held is None:
            owner, local = tensor.owners[0]
            held = getattr(live.modules[owner], local)
        if held.is_meta:
            raise ResolveError(
                Diagnostic("meta-device", f"`{network.label(tensor)}` is on the meta device and has no values")
            )
        values[tensor.index] = held.detach().to("cpu", torch.float32, copy=True)
    return values


def _defaults(network: Network, live: Live, chosen: list[int], count: int, seed: int) -> dict[int, list[torch.Tensor]]:
    """Return what the modules' own resets give their own tensors; nothing for those whose reset fails."""
    defaults: dict[int, list[torch.Tensor]] = {}
    wanted = set(chosen)
    for info in network.modules:
        own = [t for t in info.parameters.values() if t in wanted and network.tensors[t].kind == "parameter"]
        if info.reset is None or not own:
            continue
        module = live.modules[info.index]
        for number in range(count):
            try:
                with isolated(streams.key(seed, f"{info.name}<default {number}>")), torch.no_grad():
                    getattr(module, info.reset)()
            except Exception:  # somebody's own: then there is no default to compare with
                break
            for tensor in own:
                held = live.tensors[tensor]
                assert held is not None
                defaults.setdefault(tensor, []).append(held.detach().to("cpu", torch.float32, copy=True))
    return {t: values for t, values in defaults.items() if len(values) == count}


def _sampled(
    info: TensorInfo, module: ModuleInfo, local: str, label: str, tensors: list[torch.Tensor], within: bool = True
) -> Sampled:
    """Return what a tensor is, from its values in every build; `within` also looks at how its elements go together."""
    first = tensors[0]
    moved = torch.zeros_like(first, dtype=torch.bool)
    for other in tensors[1:]:
        moved |= other != first
    one = Sampled(info, module, local, label, "drawn", first)
    if not bool(moved.any()):
        value = float(first.flatten()[0])
        return replace(one, kind="constant" if bool((first == value).all()) else "fixed", value=value)
    rows = _rows_of_one_value(first, moved)
    drawn = [i for i in range(len(first) if first.ndim else 0) if i not in rows]
    values = torch.stack([t[drawn] if rows else t for t in tensors]).flatten().double()
    one = replace(one, rows=rows, moments=_drawn(values))
    if rows or not within:
        return one
    orthogonal = _orthogonal(tensors)
    if orthogonal is not None:
        return replace(one, kind="orthogonal", gain=orthogonal[0], blocks=orthogonal[1])
    return replace(one, parts=_parts(one, tensors))


def _rows_of_one_value(first: torch.Tensor, moved: torch.Tensor) -> dict[int, float]:
    """Return the few indices of dimension 0 that hold one value in every build, and that value."""
    still = [] if first.ndim < 2 else (~moved.flatten(1).any(1)).nonzero().flatten().tolist()
    if first.ndim == 1 and len(first) > 1 and not bool(moved.all()):
        still = (~moved).nonzero().flatten().tolist()
    if len(still) > MOST_ROWS or len(still) >= len(first if first.ndim else [0]):
        return {}
    rows = {row: first[row].flatten() for row in still}
    return {row: float(values[0]) for row, values in rows.items() if bool((values == values[0]).all())}


def _parts(whole: Sampled, tensors: list[torch.Tensor]) -> tuple[Sampled, ...]:
    """Return gates, or queries, keys and values: the fewest equal stretches of which each is even in itself, if they differ."""
    rows = len(whole.first) if whole.first.ndim else 0
    values = torch.stack([t.flatten(1) if t.ndim > 1 else t.view(-1, 1) for t in tensors]).double()
    for count in (2, 3, 4):
        size = rows // count
        if rows % count or size < 4:
            continue
        halves = [_spread(half) for part in values.chunk(count, 1) for half in part.tensor_split(2, 1)]
        pairs = list(zip(halves[::2], halves[1::2], strict=True))
        if all(_even(*pair) for pair in pairs) and not all(_even(pairs[0][0], half) for half, _ in pairs[1:]):
            info = whole.tensor._replace(shape=(size, *whole.shape[1:]))
            split = zip(*(t.chunk(count) for t in tensors), strict=True)
            return tuple(_sampled(info, whole.module, whole.local, whole.label, list(part)) for part in split)
    return ()


@dataclass(frozen=True, slots=True)
class _Spread:
    """Mean and standard deviation of a sample, and the squares of their standard errors."""

    mean: float
    std: float
    mean_error: float
    std_error: float


def _spread(values: torch.Tensor) -> _Spread:
    mean = values.mean()
    squares = (values - mean).square()  # torch takes much longer for a fourth power
    variance, fourth = float(squares.mean()), float(squares.square().mean())
    count = values.numel()
    error = max(fourth - variance**2, 0.0) / (4 * count * variance + 1e-300)
    return _Spread(float(mean), math.sqrt(variance), variance / count, error)


def _even(one: _Spread, other: _Spread) -> bool:
    """Return whether means and standard deviations of two samples lie within five standard errors of each other."""
    means, deviations = math.sqrt(one.mean_error + other.mean_error), math.sqrt(one.std_error + other.std_error)
    near = abs(one.mean - other.mean) <= 5 * means + 1e-12
    return near and abs(one.std - other.std) <= 5 * deviations + 1e-12


def _drawn(values: torch.Tensor) -> Drawn:
    # timm's truncated normal now and then leaves an element at its bound, a hundred standard deviations out
    near = values.abs() <= 8 * values[:: max(1, values.numel() // MOST)].abs().median() / 0.6745
    if 0 < values.numel() - int(near.sum()) <= max(2, 1e-5 * values.numel()):
        values = values[near]
    step = max(1, values.numel() // MOST)
    return Drawn(**asdict(moments(values)), some=values[::step].clone())


def _orthogonal(tensors: list[torch.Tensor]) -> tuple[float, int] | None:
    """Return `(gain, blocks)` where the rows of each of so many equal blocks, or their columns, are orthogonal and as long."""
    first = tensors[0]
    if first.ndim < 2:
        return None
    # a wide block is orthogonal in its parts, and tall ones are together: neither tells how the draw was cut
    wide = [blocks for blocks in (1, 2, 3, 4) if len(first) <= blocks * first[0].numel()]
    for blocks in [*wide, *(b for b in (4, 3, 2, 1) if b not in wide)]:
        if len(first) % blocks:
            continue
        gains = {g for t in tensors[:2] for block in t.flatten(1).chunk(blocks) for g in [_gain(block)]}
        if None not in gains and max(gains) - min(gains) < 1e-3 * max(gains):  # type: ignore[type-var, operator]
            return float(sum(gains) / len(gains)), blocks  # type: ignore[arg-type]
    return None


def _gain(matrix: torch.Tensor) -> float | None:
    rows, columns = matrix.shape
    if min(rows, columns) < 2 or min(rows, columns) > 4096:
        return None
    few = (matrix[:8] if rows <= columns else matrix[:, :8].T).double()  # most are not: soon seen
    corner = few @ few.T
    if float((corner / corner.diagonal().mean() - torch.eye(len(few))).abs().max()) > 1e-3:
        return None
    matrix = matrix.double()
    square = matrix @ matrix.T if rows <= columns else matrix.T @ matrix
    scale = float(square.diagonal().mean())
    if scale <= 0 or float((square / scale - torch.eye(len(square))).abs().max()) > 1e-3:
        return None
    return math.sqrt(scale)
