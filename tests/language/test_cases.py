"""The cases in `cases/syntax` and `cases/plan`: rules, a line of dashes, and what is said of them.

`python -m tests.language.test_cases --update` writes down what is said now; read the difference before you keep it. A first
comment `# net: NAME` chooses a model of this file; without one the rules are only parsed.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import initdsl
from tests.support.nets import Tensors, Tower, mlp

FOLDER = Path(__file__).parents[1] / "cases"
CASES = sorted([*(FOLDER / "syntax").glob("*.txt"), *(FOLDER / "plan").glob("*.txt")])
RULE = "\n--------\n"


def experts() -> nn.Module:
    """Stacked matrices, a grouped and a transposed convolution: where torch's fans mislead."""
    net = Tensors(down_proj=torch.zeros(2, 8, 4))
    net.depthwise = nn.Conv2d(4, 4, 3, groups=4)
    net.up = nn.ConvTranspose2d(4, 2, 2)
    return net


NETS = {"mlp": mlp, "tower": Tower, "lstm": lambda: nn.LSTM(3, 4), "experts": experts}


def said(rules: str) -> str:
    """The findings of the rules, or their plan, or the statements they are."""
    chosen = re.match(r"# net: (\w+)", rules)
    try:
        if chosen is None:
            return "\n".join(
                f"{type(rule).__name__} {rule.span.start}:{rule.span.end}" for rule in initdsl.parse(rules).walk()
            )
        torch.manual_seed(0)
        return str(initdsl.plan(NETS[chosen[1]](), rules))
    except initdsl.InitDSLError as error:
        return f"{type(error).__name__}\n\n{error}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.name}/{case.stem}")
def test_case(case: Path) -> None:
    rules, _, expected = case.read_text("utf-8").partition(RULE)
    assert said(rules) == expected.rstrip("\n")


def test_there_are_cases() -> None:
    assert len(CASES) >= 20


def update() -> None:
    """Write down what is said of every case now."""
    for case in CASES:
        rules = case.read_text("utf-8").partition(RULE)[0].rstrip("\n")
        case.write_text(f"{rules}{RULE}{said(rules)}\n", "utf-8")


if __name__ == "__main__" and "--update" in sys.argv:
    update()
