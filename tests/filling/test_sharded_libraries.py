"""Models that torchtitan, Megatron-Core and DeepSpeed spread over ranks: put together, the bits are those of one process.

What a rank checks stands in `tests/support/workers/libraries.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .test_sharded import WORKER, launch

pytestmark = pytest.mark.needs("torch>=2.13")  # what torchtitan 0.3 is made for

LIBRARIES = WORKER.with_name("libraries.py")
# of torchtitan itself, which imports both
TITAN = pytest.mark.needs("torchtitan", "spmd_types", "triton")


@TITAN
def test_torchtitan_on_two_ranks(tmp_path: Path) -> None:
    launch(2, tmp_path, ["titan_of_two", "titan_of_a_stage", "experts_of_two"], timeout=900, worker=LIBRARIES)


@TITAN
@pytest.mark.slow
@pytest.mark.parametrize(("count", "cases"), [(4, ["titan_of_four", "experts_of_four"]), (8, ["titan_of_eight"])])
def test_torchtitan_on_more_ranks(count: int, cases: list[str], tmp_path: Path) -> None:
    launch(count, tmp_path, cases, timeout=900, worker=LIBRARIES)


@pytest.mark.needs("megatron")
def test_megatron_core_on_two_ranks(tmp_path: Path) -> None:
    launch(2, tmp_path, ["megatron_core"], timeout=900, worker=LIBRARIES)


@pytest.mark.needs("deepspeed")
def test_deepspeed_on_two_ranks(tmp_path: Path) -> None:
    launch(2, tmp_path, ["zero_3"], timeout=900, worker=LIBRARIES)
