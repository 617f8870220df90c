"""Files of a streamed checkpoint, written by several threads."""

from __future__ import annotations

import math
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple, Protocol

import torch

from initdsl import streams
from initdsl.checkpoints.shards import INDEX, Shard, index, unfinished
from initdsl.checkpoints.store import boxes
from initdsl.checkpoints.writing import Place, write_tensor
from initdsl.filling.blame import StepFailed
from initdsl.planning.plan import PlanEntry
from initdsl.text.diagnostic import ApplyError
from initdsl.text.failures import reason
from initdsl.text.files import replacing, write_bytes
from initdsl.text.parts import sweep
from initdsl.text.wording import bytes_text

from .origin import Held, TensorSource, box_filler, release, whole

__all__ = ["OnProgress", "Progress", "new_file", "write", "write_small", "writing"]


# elements a thread fills at a time: 4 MiB of float32
CHUNK = 1 << 20


# what is called with the bytes that are written and those in all
OnProgress = Callable[[int, int], Any]


def write(folder: str, files: list[Shard], source: TensorSource, on_progress: OnProgress) -> None:
    """Write the files that are not whole yet, and their index. Raises ApplyError, OSError where the disk fails."""
    missing = unfinished(folder, files)
    with writing(folder, files, missing, on_progress) as (held, progress):
        for file in missing:
            with new_file(folder, file.name) as descriptor:
                write_bytes(descriptor, file.head, 0)
                progress.add(len(file.head))
                _fill_file(descriptor, file, source, held, progress)
        write_small(folder, INDEX, index(files))


class Sized(Protocol):
    """A file that is to be written."""

    @property
    def size(self) -> int:
        """Its bytes."""


@contextmanager
def writing(
    folder: str, files: Sequence[Sized], missing: Sequence[Sized], on_progress: OnProgress
) -> Iterator[tuple[Held, Progress]]:
    """Make ready to write the files that are missing, and say what keeps them from being written, as ApplyError or OSError.

    What is held is given up in the end.
    """
    sweep(folder)  # before what is free is counted
    total, needed = sum(file.size for file in files), sum(file.size for file in missing)
    _refuse_full(folder, needed)
    streams.prepare()
    held = Held()
    try:
        yield held, Progress(total - needed, total, on_progress)
    except OSError as error:
        raise OSError(
            f"can't write to `{folder}`: {reason(error)}; what is whole stays, and the same command goes on from there"
        ) from None
    except StepFailed as error:
        raise ApplyError(error.diagnostics) from error.cause
    finally:
        release(held)


def _refuse_full(folder: str, needed: int) -> None:
    """Raise OSError where a folder has not so many bytes left."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(f"can't write to `{folder}`: {bytes_text(needed)} are needed, and {bytes_text(free)} are free")


def new_file(folder: str, name: str) -> AbstractContextManager[int]:
    """Open a file that gets its name once it is whole; see `replacing`."""
    return replacing(os.path.join(folder, name), f".initdsl-{name}.part")


def write_small(folder: str, name: str, content: bytes) -> None:
    """Write a file that says what the others hold, if it is not there."""
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        with replacing(path) as descriptor:
            write_bytes(descriptor, content, 0)


class Progress:
    """Bytes that are written so far, counted by several threads."""

    def __init__(self, done: int, total: int, tell: OnProgress):
        self.done, self.total, self.tell = done, total, tell
        self.lock = threading.Lock()

    def add(self, count: int) -> None:
        with self.lock:
            self.done += count
            self.tell(self.done, self.total)


class Job(NamedTuple):
    """One box of one tensor of a file, of the shape in which it is filled.

    `extents` are the box's coordinates along each dimension, and `first` is the number of its first element.
    """

    place: Place
    entry: PlanEntry
    shape: tuple[int, ...]
    extents: tuple[range, ...]
    first: int


def _fill_file(descriptor: int, file: Shard, source: TensorSource, held: Held, progress: Progress) -> None:
    """Write the tensors of a file: the whole ones first, then boxes of the others, by several threads."""
    in_boxes: list[tuple[Place, PlanEntry, tuple[int, ...]]] = []
    for place in file.places:
        entry = source.entry(place.name)
        shape = source.grids[entry.tensor.index] if entry is not None else None
        if entry is None or shape is None:
            write_tensor(descriptor, whole(source, held, place.name), place.start)
            progress.add(place.nbytes)
        elif place.nbytes:
            in_boxes.append((place, entry, shape))
    release(held)
    jobs = (Job(*tensor, *box) for tensor in in_boxes for box in boxes(tensor[2], CHUNK))
    streams.shared(jobs, lambda: _worker(descriptor, source, progress), torch.get_num_threads())


def _worker(descriptor: int, source: TensorSource, progress: Progress) -> Callable[[Job], None]:
    """Return what fills boxes and writes them, for one thread."""
    room: dict[torch.dtype, torch.Tensor] = {}
    fill = box_filler(source)

    def work(job: Job) -> None:
        dtype = job.place.dtype
        if dtype not in room:
            room[dtype] = torch.empty(CHUNK, dtype=dtype)
        flat = room[dtype][: math.prod(map(len, job.extents))]
        fill(job.entry, job.shape, job.extents, flat.view([len(extent) for extent in job.extents]))
        start, size = job.place.start + job.first * dtype.itemsize, flat.numel() * dtype.itemsize
        write_bytes(descriptor, flat.view(torch.uint8).numpy().data, start)
        if hasattr(os, "posix_fadvise"):  # to the disk now, while the next chunk is filled, and not all at the end
            os.posix_fadvise(descriptor, start, size, os.POSIX_FADV_DONTNEED)
        progress.add(size)

    return work
