"""Files of a streamed checkpoint, written by several threads."""

from __future__ import annotations

import math
import os
import shutil
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from initdsl import streams
from initdsl.checkpoints.safetensors import Place, write_tensor
from initdsl.checkpoints.shards import INDEX, Shard, index, unfinished
from initdsl.checkpoints.store import boxes
from initdsl.filling.run import StepFailed
from initdsl.planning.plan import PlanEntry
from initdsl.text.diagnostic import ApplyError
from initdsl.text.failures import reason
from initdsl.text.files import replacing, write_bytes
from initdsl.text.wording import bytes_text

from .origin import Origin

__all__ = ["write"]


# elements a thread fills at a time: 4 MiB of float32
CHUNK = 1 << 20


class Box(NamedTuple):
    """A run of elements that lie one after the other: their extent along each dimension, the first one's number."""

    extents: tuple[range, ...]
    start: int


# ---- writing


def write(folder: str, files: list[Shard], source: Origin, on_progress: Callable[[int, int], Any]) -> None:
    left = unfinished(folder, files)
    for name in os.listdir(folder):  # of a run that was killed; `alone` sees to it that it is none that lives
        if name.startswith(".initdsl-model") and name.endswith(".part"):
            os.unlink(os.path.join(folder, name))
    total, needed = sum(file.size for file in files), sum(file.size for file in left)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(f"can't write to `{folder}`: {bytes_text(needed)} are needed, and {bytes_text(free)} are free")
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
    jobs = (Job(*part, Box(*box)) for part in in_parts for box in boxes(part[2], CHUNK))

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
