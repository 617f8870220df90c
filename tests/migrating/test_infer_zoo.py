"""Whether rules that are said to be sure are: inferred of one size of a model, held against another size of it."""

from __future__ import annotations

import pytest

from tests.support.zoo import Judged, judged, plain_networks, zoo

SOON = ("plain normal0.015 64x4", "conv normal0.03", "residual depth 0.015", "plain xavier_uniform 64x4")


def results_of(name: str) -> list[Judged]:
    one, other = next((one, other) for key, one, other in plain_networks() if key == name)
    return judged(one, other)


@pytest.mark.parametrize("name", SOON)
def test_what_is_sure_holds_for_another_size(name: str, one_thread: None) -> None:
    results = results_of(name)
    assert results
    assert [result for result in results if result.sure == "sure" and not result.right] == []
    if name == "residual depth 0.015":
        rules = [result.rule for result in results]
        assert any(rule.endswith("~ normal(0, 0.015)") for rule in rules)
        assert any(rule.endswith("~ normal(0, 0.015 / sqrt(2 * len(net.blocks)))") for rule in rules)


def test_one_number_of_many_shapes_is_that_number(one_thread: None) -> None:
    results = results_of("plain normal0.0173 64x4")
    assert [r for r in results if "0.0173" in r.rule]
    assert not any(result.sure == "guess" for result in results)


@pytest.mark.slow
def test_sure_is_right_in_99_of_100(one_thread: None, torchvision_shim: None) -> None:
    models = zoo()
    assert len(models) >= 200
    sure = [r for one, other in models.values() for r in judged(one, other) if r.sure == "sure"]
    assert sum(result.right for result in sure) >= 0.99 * len(sure)
