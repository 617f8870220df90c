"""A streamed checkpoint as a directory of torch.distributed.checkpoint, written by several threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch

from initdsl import streams
from initdsl.checkpoints.dcp import ABOUT
from initdsl.checkpoints.shards import Row
from initdsl.checkpoints.writing_dcp import METADATA, Chunk, ChunkFile, about, metadata, saved, unfinished
from initdsl.planning.plan import PlanEntry
from initdsl.text.files import write_bytes

from .origin import Held, TensorSource, box_filler, release, whole
from .write import OnProgress, Progress, new_file, write_small, writing

__all__ = ["write_dcp"]


class _Job(NamedTuple):
    """One chunk of a tensor that is filled box by box."""

    chunk: Chunk
    entry: PlanEntry


def write_dcp(
    folder: str,
    files: Sequence[ChunkFile],
    rows: Sequence[Row],
    others: Mapping[str, str],
    provenance: Mapping[str, str],
    source: TensorSource,
    on_progress: OnProgress,
) -> None:
    """Write the files that are not whole yet, and their metadata last. Raises ApplyError, OSError where the disk fails."""
    told = about(files, others, provenance)
    missing = unfinished(folder, files, told)
    with writing(folder, files, missing, on_progress) as (held, progress):
        write_small(folder, ABOUT, told)
        for file in missing:
            with new_file(folder, file.name) as descriptor:
                _fill_file(descriptor, file, source, held, progress)
        write_small(folder, METADATA, metadata(files, rows, others))


def _fill_file(descriptor: int, file: ChunkFile, source: TensorSource, held: Held, progress: Progress) -> None:
    """Write the chunks of a file: those of whole tensors first, then the others, by several threads."""
    jobs: list[_Job] = []
    for chunk in file.chunks:
        entry = source.entry(chunk.name)
        # of a tensor that is filled through a view, boxes are the view's and no boxes of the tensor
        if entry is None or source.grids[entry.tensor.index] != entry.shape:
            values = whole(source, held, chunk.name)[tuple(slice(e.start, e.stop) for e in chunk.extents)]
            _write_chunk(descriptor, chunk, values.cpu().clone(memory_format=torch.contiguous_format), progress)
        else:
            jobs.append(_Job(chunk, entry))
    release(held)
    streams.shared(iter(jobs), lambda: _worker(descriptor, source, progress), torch.get_num_threads())


def _worker(descriptor: int, source: TensorSource, progress: Progress) -> Callable[[_Job], None]:
    """Return what fills chunks and writes them, for one thread."""
    fill = box_filler(source)

    def work(job: _Job) -> None:
        chunk, entry = job
        values = torch.empty(chunk.shape, dtype=chunk.dtype)
        if values.numel():
            fill(entry, entry.shape, chunk.extents, values)
        _write_chunk(descriptor, chunk, values, progress)

    return work


def _write_chunk(descriptor: int, chunk: Chunk, values: torch.Tensor, progress: Progress) -> None:
    content = saved(values)
    assert len(content) == chunk.length, "torch.save writes as many bytes for every tensor of a shape"
    write_bytes(descriptor, content, chunk.start)
    progress.add(chunk.length)
