"""The charts of the custom scalars page name tags that there are."""

import re

import pytest
import torch

from metarun.engine.evaluation import EvaluationResult
from metarun.runs.layout import bounds, charts

TAGS = [
    "meta-train/f1", "meta-val/f1", "meta-test/f1", "interval/meta-val f1 lower", "interval/meta-val f1 upper",
    "outer-gradient/theta.head", "inner-gradient-before/head", "inner-gradient-after/head", "step-size/head",
    "step-sizes/head", "meta-val/f12", "meta-trainxf1",
]  # fmt: skip


def test_each_chart_has_its_lines() -> None:
    found = charts(["f1"], gradients=True, step_sizes=True)
    lines = {
        title: [tag for tag in TAGS for pattern in patterns if re.search(pattern, tag)]
        for by_title in found.values()
        for title, (kind, patterns) in by_title.items()
        if kind == "Multiline" and title != "f1"
    }
    assert lines == {
        "outer": ["outer-gradient/theta.head"],
        "inner, before adaptation": ["inner-gradient-before/head"],
        "inner, after adaptation": ["inner-gradient-after/head"],
        "mean by layer": ["step-size/head"],
    }
    _, patterns = found["meta-train and meta-val"]["f1"]
    assert [tag for tag in TAGS for pattern in patterns if re.search(pattern, tag)] == ["meta-train/f1", "meta-val/f1"]
    kind, tags = found["meta-val with its 95 % interval"]["f1"]
    assert (kind, tags) == ("Margin", ["meta-val/f1", "interval/meta-val f1 lower", "interval/meta-val f1 upper"])


def test_there_is_no_chart_without_lines() -> None:
    found = charts(["mse"], gradients=False, step_sizes=False)
    assert list(found) == ["meta-train and meta-val", "meta-val with its 95 % interval"]


def test_the_bounds_are_those_of_students_interval() -> None:
    values = torch.tensor([[9.0, 1.0], [9.0, 2.0], [9.0, 4.0]], dtype=torch.float64)
    half = 4.302653 * (7 / 3) ** 0.5 / 3**0.5
    wanted = {"interval/meta-val mse lower": 7 / 3 - half, "interval/meta-val mse upper": 7 / 3 + half}
    assert bounds(EvaluationResult({"mse": values})) == pytest.approx(wanted, rel=1e-6)
