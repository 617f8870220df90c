"""Reports, plans, diffs and diagnoses in experiment trackers: flat values, and the real packages, offline."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from torch import nn

import initdsl

RULES = "Linear.weight ~ normal(0, 0.02); Linear.bias = 0"


def net() -> nn.Module:
    return nn.Sequential(*(nn.Linear(8, 8) for _ in range(6)))


@pytest.fixture
def report() -> initdsl.Report:
    return initdsl.apply(net(), RULES, seed=3)


def test_a_flat_report(report: initdsl.Report) -> None:
    flat = report.to_dict(flat=True)
    assert flat["init/set_tensors"] == 12
    assert flat["init/set_elements"] == 6 * 72
    assert flat["init/std/0-5.weight"] == 0.02
    assert flat["init/seed"] == "3"
    assert flat["init/engine"].startswith("stream v1, seed 3")
    assert report.to_dict()["format"] == "initdsl-report"
    assert report.plan.to_dict(flat=True) == {k: v for k, v in flat.items() if k != "init/engine"}


def test_every_kind_is_flat_small_and_named_as_trackers_want() -> None:
    odd = nn.ModuleDict({f"layer {chr(97 + n % 26)}{chr(97 + n // 26)}|[é]": nn.Linear(2, 2) for n in range(150)})
    plans = [initdsl.plan(odd, f"Linear.weight ~ normal(0, {std}); Linear.bias = 0") for std in (1, 2)]
    model = net()
    old, new = (initdsl.plan(model, f"Linear.weight ~ normal(0, {std}); Linear.bias = 0") for std in (0.3, 0.03))
    for one in (
        plans[0],
        initdsl.diff(*plans),
        initdsl.diff(old, new, input_shape=(4, 8)),
        initdsl.diagnose(net(), RULES, seed=0),
    ):
        flat = one.to_dict(flat=True)
        assert len(flat) < 130
        assert all(isinstance(value, int | float | str) for value in flat.values())
        assert all(re.fullmatch(r"[\w\-. :/]{1,250}", name, re.ASCII) for name in flat), flat
    assert plans[0].to_dict(flat=True)["init/groups_left_out"] == 50
    assert initdsl.diff(*plans).to_dict(flat=True)["init/diff/drawn"] == 150
    grown = initdsl.diff(old, new, input_shape=(4, 8)).to_dict(flat=True)
    assert grown["init/diff/activations_after"] < grown["init/diff/activations_before"]


def test_weights_and_biases(report: initdsl.Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with wandb.init(mode="offline", project="start", dir=tmp_path, config=report.to_dict(flat=True)) as run:
        assert run.config["init/set_tensors"] == 12
        run.summary.update(initdsl.diagnose(net(), RULES, seed=0).to_dict(flat=True))
    assert list(tmp_path.rglob("*.wandb"))


def test_tensorboard(report: initdsl.Report, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        for name, value in report.to_dict(flat=True).items():
            if isinstance(value, str):
                writer.add_text(name, value)
            else:
                writer.add_scalar(name, value)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert "init/set_tensors" in events.Tags()["scalars"]
    assert events.Scalars("init/std/0-5.weight")[0].value == pytest.approx(0.02)


def test_mlflow(report: initdsl.Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    with mlflow.start_run() as run:
        mlflow.log_params(report.to_dict(flat=True))
    logged = mlflow.get_run(run.info.run_id).data.params
    assert logged["init/set_tensors"] == "12"
    assert logged["init/std/0-5.weight"] == "0.02"


def test_events_of_mlperf(tmp_path: Path) -> None:
    mllog = pytest.importorskip("mlperf_logging.mllog")
    path = tmp_path / "log.txt"
    mllog.config(filename=str(path))
    logger = mllog.get_mllogger()
    logger.logger.propagate = False
    initdsl.apply(
        net(), RULES, on_init=lambda entry: logger.event("weights_initialization", metadata={"tensor": entry.name})
    )
    logging.shutdown()
    lines = [line for line in path.read_text().splitlines() if '"weights_initialization"' in line]
    assert len(lines) == 12
    assert all(line.startswith(":::MLLOG ") for line in lines)
    assert '"tensor": "0.weight"' in lines[0]
