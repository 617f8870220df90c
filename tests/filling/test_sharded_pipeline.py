"""Pipelines on real process groups: each stage has the bits that one process gives the whole model.

What a rank checks stands in `tests/support/workers/pipeline.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .test_sharded import WORKER, launch

pytestmark = pytest.mark.needs("torch>=2.6")  # as those of `test_sharded.py`

PIPELINE = WORKER.with_name("pipeline.py")
STAGES = ["manual_stages", "traced_stages", "from_a_manifest", "tied_ends", "refusals"]


def test_two_stages(tmp_path: Path) -> None:
    launch(2, tmp_path, [*STAGES, "several_stages_a_rank", "megatron_layers"], worker=PIPELINE)


@pytest.mark.long
@pytest.mark.needs("torch>=2.7")  # before, the time of a process group can't be made shorter
def test_a_stage_that_does_not_answer(tmp_path: Path) -> None:
    launch(2, tmp_path, ["nobody_answers"], worker=PIPELINE)


def test_two_stages_on_four_ranks(tmp_path: Path) -> None:
    launch(4, tmp_path, ["two_dimensions", "three_dimensions", "refused_in_a_mesh", "from_a_folder"], worker=PIPELINE)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 4, 8])
def test_any_number_of_ranks(count: int, tmp_path: Path) -> None:
    cases = {1: ["manual_stages", "from_a_manifest"], 4: STAGES, 8: ["two_dimensions", "three_dimensions"]}
    launch(count, tmp_path, cases[count], timeout=900, worker=PIPELINE)
