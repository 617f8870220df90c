"""Networks larger than memory: filled straight into sharded safetensors files, a chunk a thread.

The network has no memory at any time. What is drawn, set and computed element by element is filled chunk by chunk, and
each chunk is written where it belongs; the rest (`orthogonal`, sums and norms, a module's own reset) is made one tensor
at a time, with what it reads or is made with. Files are written under other names and renamed once they are whole, the index last. A
run that was stopped goes on where it was; files of other rules, another seed or network are told apart by what they
say of themselves.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from initdsl import streams
from initdsl.checkpoints.safetensors import (
    INDEX,
    Place,
    Shard,
    alone,
    index,
    provenance,
    shards,
    unfinished,
    write_tensor,
)
from initdsl.filling.box_fill import PartExecution
from initdsl.filling.boxes import Part, Scope, scope
from initdsl.filling.execute import StepFailed, execute, follow, refuse_no_sample
from initdsl.filling.meta.materialize import (
    construct,
    left_unset,
    like,
    meta_buffers,
    settle_buffers,
    warn,
    with_defaults,
)
from initdsl.filling.seeded import row_major
from initdsl.initializers import Constant, Random
from initdsl.network.describe import unwrap
from initdsl.network.selectors.select import listed
from initdsl.planning.plan import Action, CopyFrom, Expression, Kept, Plan, PlanEntry, Reset, Value
from initdsl.reports.table import Report
from initdsl.text.diagnostic import ApplyError, Diagnostic, ResolveError
from initdsl.text.files import reason, replacing, write_bytes

if TYPE_CHECKING:
    from initdsl.api.plan import Rules

__all__ = ["Origin", "size_in_bytes", "stream"]


# elements a thread fills at a time: 4 MiB of float32
CHUNK = 1 << 20


UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 1 << 10,
    "MIB": 1 << 20,
    "GIB": 1 << 30,
}


def stream(
    network: Callable[[], nn.Module] | nn.Module, rules: Rules, folder: str | os.PathLike[str], *, seed: int,
    max_shard_size: int | str = "5GB", vars: Mapping[str, Any] | None = None, strict: bool = False,
    initializers: Mapping[str, Callable[..., Any]] | None = None, root: str | os.PathLike[str] | None = None,
    on_progress: Callable[[int, int], Any] | None = None,
) -> Report:  # fmt: skip
    """Write the network that rules and a seed make to safetensors files, without ever having it in memory.

    `network` is a factory, called as in `materialize`, or a module on the meta device. The files in `folder` (made if
    it is not there) are those of transformers and huggingface_hub: `model-00001-of-00003.safetensors` and so on, each
    with at most `max_shard_size` (bytes, or text such as `"5GB"`) of tensors, and `model.safetensors.index.json`; what
    fits in one file is `model.safetensors`. The values are those of `materialize` with the same seed, bit for bit.
    Memory is bounded by some chunks of 4 MiB a thread, and by the largest tensor that can't be filled in parts: the
    report's notes name those. `torch.get_num_threads()` threads fill and write. Started again after it was stopped, it
    goes on after the last whole file. `on_progress` is called with the bytes that are written and those in all.

    The other arguments are those of `apply`. Raises as `materialize` does, before anything is written; ApplyError where
    the folder holds other files of these names or a fill failed; OSError where the disk is full or can't be written to:
    then the files that are whole stay, and no other.

    >>> import os, tempfile
    >>> from torch import nn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = stream(lambda: nn.Linear(3, 2), "net.* ~ normal(0, 0.02)", folder, seed=0)
    ...     sorted(os.listdir(folder))
    ['model.safetensors', 'model.safetensors.index.json']
    """
    from initdsl.api.plan import check_seed, plan

    if seed is None:
        raise ValueError("a network is streamed from a seed, from which it can be gone on with; give one, such as 0")
    check_seed(seed)
    most = size_in_bytes(max_shard_size)
    given = isinstance(network, nn.Module)
    net = network if isinstance(network, nn.Module) else construct(network, seed)
    made = plan(net, rules, seed=seed, vars=vars, strict=strict, initializers=initializers, root=root)
    with_defaults(made, keep=given)
    if not given:
        settle_buffers(made, meta_buffers(made), torch.device("cpu"))
    state, others = _state(made, net)
    source = Origin(made, state)
    described = [(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in state.items()]
    files = shards(described, others, most, {**provenance(made), **_loaded(made)})
    _note_whole(made, source)
    warn(made)
    place = os.fspath(folder)
    os.makedirs(place, exist_ok=True)
    with alone(place):
        _write(place, files, source, on_progress or (lambda done, total: None))
        _look(made, place, others)
    return Report(made)


def _look(plan: Plan, folder: str, others: Mapping[str, str]) -> None:
    """Whether what was written is as the rules expect; if not, the index goes, and with it the network."""
    if not plan.expected:
        return
    from initdsl.checkpoints.open import open_store
    from initdsl.statistics.moments import unmet_expectations

    store = open_store(folder)

    def value(tensor: int) -> torch.Tensor | None:
        for name in plan.tensor_names(plan.network.tensors[tensor]):
            if others.get(name, name) in store.tensors:
                return store.whole(others.get(name, name))
        return None

    problems = unmet_expectations(plan, value)
    if problems:
        os.unlink(os.path.join(folder, INDEX))
        raise ApplyError(problems)


def size_in_bytes(size: int | str) -> int:
    """`"5GB"` as 5 000 000 000. Raises ValueError for what is no size, TypeError for another type."""
    if isinstance(size, bool) or not isinstance(size, int | str):
        raise TypeError(f"a size is a number of bytes or text such as `5GB`, not {type(size).__name__}")
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) *([A-Z]*)", str(size).strip().upper())
    if not found or found[2] not in UNITS:
        raise ValueError(f"`{size}` is no size; write `5GB`, `500MB` or a number of bytes")
    count = int(float(found[1]) * UNITS[found[2]])
    if count < 1:
        raise ValueError("a file can't be smaller than a byte")
    return count


# ---- what is written


def _state(plan: Plan, net: nn.Module) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors of the network's state dict by their first names, and which the further names stand for."""
    assert plan.live is not None
    indices = {id(tensor): number for number, tensor in enumerate(plan.live.tensors) if tensor is not None}
    firsts: dict[int, str] = {}
    state: dict[str, torch.Tensor] = {}
    others: dict[str, str] = {}
    for name, tensor in unwrap(net).state_dict(keep_vars=True).items():
        if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or hasattr(tensor, "placements"):
            what = type(tensor).__name__ if not isinstance(tensor, torch.Tensor) else "sparse or sharded"
            raise ResolveError(
                Diagnostic("not-stored", f"`{name}` is {what}; it can't be streamed to a safetensors file")
            )
        number = indices.get(id(tensor))
        one = id(tensor) if number is None else plan.canonical.get(number, number)
        first = firsts.setdefault(one, name)
        if first == name:
            state[name] = tensor
        else:
            others[name] = first
    return state, others


def _loaded(plan: Plan) -> dict[str, str]:
    """Of files that rules load: size and time, so that a run is not gone on with after they changed."""
    paths = plan.resolver.files.paths
    seen = [(os.path.basename(path), os.stat(path).st_size, os.stat(path).st_mtime_ns) for path in paths]
    return {"initdsl.loaded": str(seen)} if seen else {}


def _note_whole(plan: Plan, source: Origin) -> None:
    whole = [entry for entry in plan.entries if source.parts(entry) is None and not source.keeps(entry)]
    if whole:
        largest = max(whole, key=lambda entry: entry.numel)
        count = f"{len(whole)} tensor{'s' * (len(whole) > 1)}"
        plan.notes.append(
            Diagnostic(
                "whole-tensor",
                f"{count} can't be filled in parts and {'are' if len(whole) > 1 else 'is'} held in memory, one rule or "
                f"module at a time: {listed([entry.label for entry in whole])}; the largest is "
                f"`{largest.label}` {list(largest.shape)}",
                severity="note",
            )
        )  # fmt: skip


class Box(NamedTuple):
    """A run of elements that lie one after the other: their extent along each dimension, the first one's number."""

    extents: tuple[range, ...]
    start: int


def boxes(shape: tuple[int, ...], most: int) -> Iterator[Box]:
    """A tensor of this shape in boxes of at most `most` elements, in row-major order."""
    strides = row_major(shape)
    cut = next((d for d, stride in enumerate(strides) if stride <= most), None)
    if cut is None:  # a scalar
        yield Box((), 0)
        return
    rows = max(1, most // strides[cut])
    for outer in product(*map(range, shape[:cut])):
        start = sum(i * s for i, s in zip(outer, strides, strict=False))
        fixed = tuple(range(i, i + 1) for i in outer)
        for row in range(0, shape[cut], rows):
            extent = range(row, min(row + rows, shape[cut]))
            yield Box((*fixed, extent, *map(range, shape[cut + 1 :])), start + row * strides[cut])


class Origin:
    """Where the values of a network's tensors come from, by their names in its state."""

    def __init__(self, plan: Plan, state: Mapping[str, torch.Tensor]):
        assert plan.live is not None
        assert plan.seed is not None
        if plan.adjusted:
            refuse_no_sample(plan.adjusted[0])
        self.plan, self.live, self.state = plan, plan.live, state
        self._grids: dict[int, tuple[int, ...] | None] = {}
        self.order = {entry.tensor.index: number for number, entry in enumerate(plan.order)}
        self.entries = {entry.tensor.index: entry for entry in plan.entries}
        self.groups = self._groups()
        self.undo: list[Callable[[], None]] = []
        self.held: set[int] = set()
        numbers = {id(tensor): number for number, tensor in enumerate(self.live.tensors) if tensor is not None}
        self.numbers = {
            name: plan.canonical.get(numbers[id(t)], numbers[id(t)]) for name, t in state.items() if id(t) in numbers
        }
        missing = [n for n, t in state.items() if t.is_meta and not self._made(self.numbers.get(n, -1))]
        if missing:
            raise ResolveError(
                Diagnostic(
                    "needs-values", f"these tensors are on the meta device and no rule sets them: {listed(missing, 12)}",
                    hint="give the function that builds the network in place of the network, or rules for them",
                )
            )  # fmt: skip

    def keeps(self, entry: PlanEntry) -> bool:
        return not entry.edits and (entry.base is None or isinstance(entry.base.payload, Kept))

    def entry(self, name: str) -> PlanEntry | None:
        """What is done to a tensor, if anything is."""
        entry = self.entries.get(self.numbers.get(name, -1))
        return None if entry is None or self.keeps(entry) else entry

    def _made(self, number: int) -> bool:
        entry = self.entries.get(number)
        return (entry is not None and not self.keeps(entry)) or number in self.groups

    def _groups(self) -> dict[int, set[int]]:
        """The tensors that a computed weight is computed from, or that follow it: made together."""
        network = self.plan.network
        found: dict[int, set[int]] = {}
        for info in network.tensors:
            if info.kind != "parametrized":
                continue
            below = [network.modules[i] for i in network.reachable(info.owners[0][0])]
            group = {i for m in below for i in (*m.parameters.values(), *m.buffers.values())} | {info.index}
            if any(i in self.entries and not self.keeps(self.entries[i]) for i in group):
                for member in group:
                    found[member] = found.get(member, set()) | group
        return found

    # ---- in parts

    def parts(self, entry: PlanEntry) -> tuple[int, ...] | None:
        """The shape in which an entry can be filled box by box; None if it can't be."""
        number = entry.tensor.index
        if number not in self._grids:
            self._grids[number] = self._grid(entry)
        return self._grids[number]

    def _grid(self, entry: PlanEntry) -> tuple[int, ...] | None:
        views = {action.view for action in entry.actions if action.view is not None}
        if entry.tensor.index in self.groups or len(views) > 1 or (entry.base is None and entry.status != "set"):
            return None
        if entry.tensor.kind == "parametrized" or not all(self._by_element(entry, action) for action in entry.actions):
            return None
        for action in entry.actions if views else ():  # the boxes are the view's, which only numbers don't mind
            numbers = isinstance(action.payload, Value | Constant | Random)
            if action.view is None and (action.index is not None or not numbers):
                return None
        return next(iter(views), None) or entry.shape

    def _by_element(self, entry: PlanEntry, action: Action) -> bool:
        if isinstance(action.payload, Kept | Reset):
            return False
        if isinstance(action.payload, Constant | Random) and action.operator not in ("=", "~"):
            return False

        def shares(number: int) -> bool:
            other = self.entries.get(number)
            if number in self.groups or self.plan.network.tensors[number].shape != entry.shape:
                return False
            return self.given(number) or (other is not None and self.parts(other) == entry.shape)

        return scope(self.plan, entry, action, shares, of_view=True) == Scope.ELEMENT

    def given(self, number: int) -> bool:
        """Whether a tensor has the values it ends with."""
        tensor, entry = self.live.tensors[number], self.entries.get(number)
        return tensor is not None and not tensor.is_meta and (entry is None or self.keeps(entry))

    def filler(self) -> Filler:
        """What fills boxes in one thread."""
        return Filler(self)

    # ---- whole

    def whole(self, name: str) -> torch.Tensor:
        """A tensor in memory, with its values; it stays until another one is asked for. Raises ApplyError."""
        if self.entry(name) is None and self.numbers.get(name, -1) not in self.groups:
            return self.state[name].detach()
        number = self.numbers[name]
        if number not in self.held:
            self.release()
            self._make(self._with(number))
        found = self.live.tensors[number]
        assert found is not None
        return found.detach()

    def _with(self, number: int) -> set[int]:
        """A tensor and all that has to be made for it."""
        resets = {t: mine for _, mine in self.plan.resets for t in mine}
        wanted: set[int] = set()
        stack = [number]
        while stack:
            current = stack.pop()
            current = self.plan.canonical.get(current, current)
            if current in wanted:
                continue
            wanted.add(current)
            stack += [*self.groups.get(current, ()), *resets.get(current, ())]
            for action in self.entries[current].actions if current in self.entries else ():
                payload = action.payload
                stack += payload.reads if isinstance(payload, Expression) else ()
                stack += [payload.tensor] if isinstance(payload, CopyFrom) else ()
        return wanted

    def _make(self, wanted: set[int]) -> None:
        self.held = wanted
        plan = self.plan
        by_default = [self._allocate(number) for number in sorted(wanted)]
        order = sorted((number for number in wanted if number in self.order), key=self.order.__getitem__)
        resets = [(m, tuple(t for t in mine if t in wanted)) for m, mine in plan.resets if wanted.intersection(mine)]
        part = replace(plan, order=[plan.order[self.order[n]] for n in order], resets=resets, ties=[])
        execute(part, fresh=True)
        with torch.no_grad():
            owners = {m for n in wanted & set(self.groups) for m, _ in plan.network.tensors[n].owners}
            for module in sorted({below for owner in owners for below in plan.network.reachable(owner)}):
                follow(self.live.modules[module])
        unset = [e for e in by_default if e is not None and bool(self._tensor(e).isnan().any())]
        if unset:
            raise left_unset([entry.label for entry in unset])

    def _tensor(self, entry: PlanEntry) -> torch.Tensor:
        found = self.live.tensors[entry.tensor.index]
        assert found is not None
        return found.detach()

    def _allocate(self, number: int) -> PlanEntry | None:
        """Memory for a tensor, in place of the one that has none (or is the caller's); its entry if it is a default."""
        info, old, entry = self.plan.network.tensors[number], self.live.tensors[number], self.entries.get(number)
        if old is None:
            device, info.device = info.device, "cpu"
            self.undo.append(lambda: setattr(info, "device", device))
            return None
        values = torch.empty_strided(old.size(), old.stride(), dtype=old.dtype)
        default = entry is not None and entry.base is not None and isinstance(entry.base.payload, Reset)
        default = default and values.is_floating_point()
        if not old.is_meta:
            values.copy_(old.detach())
        elif default:
            values.fill_(float("nan"))  # what a reset leaves unset must not pass for a value
        new = like(old, values) if isinstance(old, nn.Parameter) else values
        self._put(number, new, "cpu")
        device = info.device
        self.undo.append(lambda: self._put(number, old, device))
        return entry if default and entry is not None and not entry.edits else None

    def _put(self, number: int, tensor: torch.Tensor, device: str) -> None:
        info = self.plan.network.tensors[number]
        info.device = device
        self.live.tensors[number] = tensor
        for owner, local in info.owners:
            module = self.live.modules[owner]
            (module._buffers if local in module._buffers else module._parameters)[local] = tensor  # type: ignore[assignment]

    def release(self) -> None:
        """Give up what is held; the network is as it was."""
        while self.undo:
            self.undo.pop()()
        self.held = set()


class Filler(PartExecution):
    """One thread's fill of boxes. What an entry reads is made for the same box, and for no more."""

    def __init__(self, origin: Origin):
        super().__init__(replace(origin.plan, resolver=origin.plan.resolver.apart()), None, fresh=True)
        self.origin = origin
        self.known: dict[int, torch.Tensor] = {}

    def fill(self, entry: PlanEntry, grid: tuple[int, ...], extents: Sequence[range], out: torch.Tensor) -> None:
        """Fill one box of a tensor of shape `grid`; `out` has the box's shape. Raises StepFailed."""
        self.known = {}
        with torch.no_grad():
            self._fill_part(entry, grid, Part(out, tuple(extent.start for extent in extents)))

    def _fill_part(self, entry: PlanEntry, grid: tuple[int, ...], part: Part) -> None:
        for action in entry.actions:
            with self.blaming(entry, action):
                self.act_on(entry, part, grid, action)

    def share(self, tensor: int, part: Part) -> torch.Tensor:
        memory = self.live.tensors[tensor]
        assert memory is not None
        if self.origin.given(tensor):
            return memory.detach()[part.index]
        if tensor not in self.known:
            values = torch.empty(part.memory.shape, dtype=memory.dtype)
            entry = self.origin.entries[tensor]
            self._fill_part(entry, entry.shape, Part(values, part.starts))
            self.known[tensor] = values
        return self.known[tensor]


# ---- writing


def _write(folder: str, files: list[Shard], source: Origin, on_progress: Callable[[int, int], Any]) -> None:
    left = unfinished(folder, files)
    for name in os.listdir(folder):  # of a run that was killed; `alone` sees to it that it is none that lives
        if name.startswith(".initdsl-model") and name.endswith(".part"):
            os.unlink(os.path.join(folder, name))
    total, needed = sum(file.size for file in files), sum(file.size for file in left)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(f"can't write to `{folder}`: {_bytes(needed)} are needed, and {_bytes(free)} are free")
    progress = _Progress(total - needed, total, on_progress)
    streams.prepare(needed // 4)
    try:
        for file in left:
            target = os.path.join(folder, file.name)
            with replacing(target, os.path.join(folder, f".initdsl-{file.name}.part")) as descriptor:
                write_bytes(descriptor, file.head, 0)
                progress.add(len(file.head))
                _fill_file(descriptor, file, source, progress)
        if not os.path.exists(os.path.join(folder, INDEX)):
            with replacing(os.path.join(folder, INDEX)) as descriptor:
                write_bytes(descriptor, index(files), 0)
    except OSError as error:
        raise OSError(
            f"can't write to `{folder}`: {reason(error)}; what is whole stays, and the same command goes on from there"
        ) from None
    except StepFailed as error:
        raise ApplyError(error.diagnostic) from error.cause
    finally:
        source.release()


class _Progress:
    def __init__(self, done: int, total: int, tell: Callable[[int, int], Any]):
        self.done, self.total, self.tell = done, total, tell
        self.lock = threading.Lock()

    def add(self, count: int) -> None:
        with self.lock:
            self.done += count
            self.tell(self.done, self.total)


class Job(NamedTuple):
    """One box of one tensor of a file."""

    place: Place
    entry: PlanEntry
    grid: tuple[int, ...]
    box: Box


def _fill_file(descriptor: int, file: Shard, source: Origin, progress: _Progress) -> None:
    in_parts: list[tuple[Place, PlanEntry, tuple[int, ...]]] = []
    for place in file.places:
        entry = source.entry(place.name)
        grid = source.parts(entry) if entry is not None else None
        if entry is None or grid is None:
            write_tensor(descriptor, source.whole(place.name), place.start)
            progress.add(place.nbytes)
        elif place.nbytes:
            in_parts.append((place, entry, grid))
    source.release()
    jobs = (Job(*part, box) for part in in_parts for box in boxes(part[2], CHUNK))

    def worker() -> Callable[[Job], None]:
        room: dict[torch.dtype, torch.Tensor] = {}
        filler = source.filler()

        def work(job: Job) -> None:
            dtype = job.place.dtype
            if dtype not in room:
                room[dtype] = torch.empty(CHUNK, dtype=dtype)
            flat = room[dtype][: math.prod(map(len, job.box.extents))]
            shape = [len(extent) for extent in job.box.extents]
            filler.fill(job.entry, job.grid, job.box.extents, flat.view(shape))
            start, size = job.place.start + job.box.start * dtype.itemsize, flat.numel() * dtype.itemsize
            write_bytes(descriptor, flat.view(torch.uint8).numpy().data, start)
            if hasattr(os, "posix_fadvise"):  # to the disk now, while the next chunk is filled, and not all at the end
                os.posix_fadvise(descriptor, start, size, os.POSIX_FADV_DONTNEED)
            progress.add(size)

        return work

    streams.shared(jobs, worker, torch.get_num_threads())


def _bytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 10**9 else f"{count / 1e6:.2f} MB"
