"""Lints look at what can be read around a mistake, too: the mistake is found, and nothing breaks."""

from __future__ import annotations

from pathlib import Path

import pytest

import initdsl

VALUES = ["cfg.std", "it0.02", "normal(0, cfg.std)", "normal(0, it0.02)", "sqrt(a.b.c)", "[1, x.y][0]", "x.y if", "(1, 2).a", "1 + net2.a", "a.b[0]", "1.5.x"]  # fmt: skip


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("form", ["Linear.weight ~ {}", "Linear.weight = {}", "let a = {}\nLinear.weight = a", "net[{}].bias = 0", "Linear(out_features={}).bias = 0", "expect Linear.weight mean < {}", "Linear.weight as ({}, -1) = 0"])  # fmt: skip
def test_attributes_of_values_are_found(form: str, value: str, tmp_path: Path) -> None:
    file = tmp_path / "a.init"
    file.write_text(form.format(value))
    findings = initdsl.lint(file)
    assert any(finding.severity == "error" for finding in findings)
    assert all(finding.name != "internal-error" for finding in findings)
