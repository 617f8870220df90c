"""Sharded models on real process groups: gathered, every value is the one process's, bit for bit.

What a rank checks stands in `tests/support/workers/sharded.py`. Starting processes is dear, so a launch runs many cases.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.support.processes import LONGEST, python, ranks

pytestmark = pytest.mark.needs("torch>=2.6")  # the workers use `torch.distributed.fsdp.fully_shard`

WORKER = Path(__file__).parents[1] / "support" / "workers" / "sharded.py"

EVERYWHERE = [
    "fsdp", "fsdp_meta_to_empty", "fsdp_materialize", "copies", "materialize_with_defaults", "defaults", "defaults_through_data", "half_and_double",
    "every_dim", "every_initializer", "custom_initializers", "edits_of_what_is_there", "loaded", "part_of_the_world", "init_function",
]  # fmt: skip
WRONG = [
    "disagreement", "other_plans", "refusals", "refused_partial", "refused_flat", "refused_while_gathered", "refused_parametrized",
]  # fmt: skip


def torchrun(count: int, *words: str | Path) -> str:
    """What a script says under torch's own launcher."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    return python(*launcher, *words, env=environment, imports=["torch.distributed.run"]).stdout


def launch(count: int, folder: Path, cases: list[str], timeout: float = LONGEST, worker: Path = WORKER) -> None:
    """Run cases on a process group; no rank may fail or hang."""
    done = ranks(count, worker, folder, *cases, timeout=timeout)
    for rank, program in enumerate(done):
        written = folder / f"rank-{count}-{rank}.json"
        assert written.exists(), f"rank {rank} of {count} wrote nothing: {program.stderr[-4000:]}"
        problems = json.loads(written.read_text())
        assert not problems, f"rank {rank} of {count}: " + "\n".join(f"{k}: {v}" for k, v in problems.items())
    assert not any(program.returncode for program in done), [program.stderr[-2000:] for program in done]


def test_two_ranks(tmp_path: Path) -> None:
    launch(2, tmp_path, [*EVERYWHERE, "tensor_parallel", "wrappers", *WRONG, "memory", "checkpoint"])
    launch(1, tmp_path, ["fsdp", "every_dim", "fsdp_materialize", "checkpoint_read"])


def test_whatever_one_rank_has_otherwise_is_found(tmp_path: Path) -> None:
    launch(2, tmp_path, ["further_plans"])


def test_four_ranks_on_meshes_of_two_dimensions(tmp_path: Path) -> None:
    launch(4, tmp_path, ["two_dimensions", "two_dimensions_uneven", "hybrid", "disagreement"])


def test_uneven_shards_on_three_ranks(tmp_path: Path) -> None:
    launch(3, tmp_path, ["every_dim", "fsdp"])


@pytest.mark.slow
def test_a_lost_rank_is_noticed(tmp_path: Path) -> None:
    launch(3, tmp_path, ["lost_rank"])


@pytest.mark.slow
def test_the_example_makes_the_same_network_on_any_number_of_ranks(tmp_path: Path, examples: Path) -> None:
    sums = {}
    for count in (1, 2, 3):
        said = torchrun(count, examples / "sharded" / "start.py", tmp_path / f"saved-{count}")
        sums[count] = [line.split()[1] for line in said.splitlines() if line.startswith("checksum")]
        assert len(sums[count]) == 1, said
        assert said.count(" holds ") == count
        assert (tmp_path / f"saved-{count}" / ".metadata").exists()
    assert sums[1] == sums[2] == sums[3]


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3, 4, 8])
def test_any_number_of_ranks(count: int, tmp_path: Path) -> None:
    parallel = ["tensor_parallel"] if count in (1, 4) else []
    several = WRONG if count > 1 else []
    plane = ["two_dimensions", "two_dimensions_uneven", "hybrid"] if count % 2 == 0 else []
    launch(count, tmp_path, [*EVERYWHERE, *parallel, *plane, "wrappers", *several, "memory"], timeout=900)


@pytest.mark.slow
def test_a_checkpoint_moves_between_numbers_of_ranks(tmp_path: Path) -> None:
    launch(4, tmp_path, ["checkpoint"])
    launch(3, tmp_path, ["checkpoint_read"])
    launch(1, tmp_path, ["checkpoint_read"])
