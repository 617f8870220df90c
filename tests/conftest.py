"""What all tests share; small."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import hypothesis
import pluggy
import pytest

from tests.support import needs

# Threads of OpenMP that wait for work spin, by default: with as many tests at a time as there are cores, each waits for
# the others' spinning, for ten times as long as it computes. Read when torch is loaded, here and in what tests start.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# The same examples in every run, and no limit on their time: what fails does so for whoever made it fail, on any machine.
# New ones are looked for by `INITDSL_LAWS` and by fuzzing.
hypothesis.settings.register_profile(
    "same", derandomize=True, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("same")

EXAMPLES = Path(__file__).parent.parent / "examples"
_kept = []
_skipped: list[str] = []


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """What lacks a library is skipped, and no failure."""
    if call.excinfo is not None and (need := needs.need_of(call.excinfo.value)):
        skipped = pytest.skip.Exception(f"needs {need}").with_traceback(call.excinfo.tb)
        call.excinfo = pytest.ExceptionInfo.from_exception(skipped)
    yield


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, pluggy.Result[pytest.CollectReport]]:
    """So is a file that imports one at its top."""
    report = (yield).get_result()
    error = report.call.excinfo.value if report.failed and report.call.excinfo else None
    if error is not None and (need := needs.need_of(error.__cause__)):
        report.outcome = "skipped"
        report.longrepr = (str(collector.path), 0, f"Skipped: needs {need}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        for need in filter(needs.lacks, mark.args):
            pytest.skip(f"needs {need}")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and isinstance(report.longrepr, tuple):
        _skipped.append(report.longrepr[2])


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped and isinstance(report.longrepr, tuple):
        _skipped.append(report.longrepr[2])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if counts := needs.needs_of(_skipped):
        said = ", ".join(f"{count} for {need}" for need, count in sorted(counts.items()))
        terminalreporter.write_line(f"skipped: {said}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """CI says what it lacks: then nothing is skipped for anything else."""
    lacks = os.environ.get("INITDSL_LACKS")
    unmet = [] if lacks is None else needs.unexpected(needs.needs_of(_skipped), lacks)
    if unmet and not hasattr(session.config, "workerinput"):
        print(f"\nskipped, though nobody said that it is lacking: {', '.join(unmet)}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def let_torchvision_import() -> None:
    """A torchvision whose compiled operators don't load asks for these two schemas, and nothing else, when imported."""
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("torchvision") is None:
        return
    import torch

    try:
        import torchvision  # noqa: F401
    except (RuntimeError, OSError):
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _kept.append(library)  # what it defines goes when it does


@pytest.fixture(scope="session")
def torchvision_shim() -> None:
    """torchvision, and timm with it, can be imported beside a CPU build of torch."""
    let_torchvision_import()


@pytest.fixture(scope="session")
def examples() -> Path:
    """The folder of the examples."""
    return EXAMPLES


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Set the number of torch's threads; it is put back afterwards."""
    import torch

    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def one_thread(threads: Callable[[int], None]) -> None:
    """One thread: what compares many tensors of middling size waits for threads more than they help."""
    threads(1)
