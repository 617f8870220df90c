"""Lightning: layers are made in `configure_model`, and a callback fills them by a rule file."""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader

from initdsl.integrations.lightning import ApplyRules

RULES = Path(__file__).with_name("mlp.init")


class Regression(LightningModule):
    def configure_model(self) -> None:
        if not hasattr(self, "model"):
            self.model = nn.Sequential(nn.Linear(8, 400), nn.ReLU(), nn.Linear(400, 1))

    def training_step(self, batch: torch.Tensor, number: int) -> torch.Tensor:
        return self.model(batch).square().mean()

    def train_dataloader(self) -> DataLoader:
        return DataLoader(torch.ones(4, 8), batch_size=4)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def main() -> None:
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    callback = ApplyRules(RULES, seed=0, vars={"std": 0.5}, attribute="model", strict=True)
    module = Regression()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            max_steps=1, accelerator="cpu", callbacks=[callback], logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
        )  # fmt: skip
        trainer.fit(module)
    print(callback.report)
    print(f"std {module.model[0].weight.std():.2f}")


if __name__ == "__main__":
    main()
