"""Calibration and trivial baselines in every form of the report."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from run_folders import config, result

from metarun.report.formats import csv_text, latex, markdown
from metarun.report.grouping import Group, grouped
from metarun.report.page import page
from metarun.report.runs import Run, flat
from metarun.report.table import table
from metarun.report.terminal import plain_table


def told(beaten: Any = True, metric: str = "accuracy", **means: float | None) -> dict[str, Any]:
    methods = {name: {"mean": mean, "ci95": 0.01} for name, mean in means.items()}
    return {"metric": metric, "methods": methods, "best": "", "advantage": {}, "beaten": beaten}


def group(*seeds: Any, metric: str = "accuracy", **more: Any) -> Group:
    """One configuration with these ``baselines`` by seed."""
    runs = []
    for seed, each in enumerate(seeds):
        settings = flat({**config({"algorithm": "maml"}), "seed": seed})
        known = {} if each is None else {"baselines": each}
        runs.append(Run(Path(f"runs/{seed}"), settings, "done", "", "", result(0.5, 0.5, metric, **known, **more)))
    (found,), _ = grouped(runs, [], None)
    return found


def cell(found: Group, column: str) -> str:
    shown = table(found)
    return shown.rows[0][shown.header.index(column)]


def test_the_best_baseline_is_by_the_mean_over_seeds() -> None:
    found = group(told(nearest_centroid=0.5, majority_class=0.2), told(nearest_centroid=0.3, majority_class=0.2))
    assert cell(found, "best baseline accuracy") == "nearest centroid 0.4000"
    assert "!" not in table(found).note
    lower = group(told(metric="mse", ridge=0.25, support_mean=0.5), metric="mse")
    assert cell(lower, "best baseline mse") == "ridge 0.2500"


def test_baseline_not_beaten_with_every_seed_is_marked() -> None:
    found = group(told(ridge=0.5), told(beaten=False, ridge=0.5))
    assert cell(found, "best baseline accuracy") == "ridge 0.5000 !"
    assert table(found).note.endswith("; !: not significantly better than that baseline")
    shown = table(found)
    for text in (plain_table(shown), markdown([shown]), latex([shown]), page([found], [[shown]], [], [])):
        assert "ridge 0.5000" in text
        assert "not significantly better than that baseline" in text
    (row,) = csv.DictReader(io.StringIO(csv_text([found])))
    names = ("baseline", "baseline_metric", "meta_test_baseline", "baseline_beaten")
    assert [row[name] for name in names] == ["ridge", "accuracy", "0.5", "0"]


@pytest.mark.parametrize("broken", [None, 3, {}, told(), told(ridge=None), {"methods": {"ridge": 3}}, {"methods": []}])
def test_results_without_baselines_have_no_such_column(broken: Any) -> None:
    for seeds in ((broken,), (told(ridge=0.5), broken)):
        assert not [name for name in table(group(*seeds)).header if "baseline" in name]
        (row,) = csv.DictReader(io.StringIO(csv_text([group(*seeds)])))
        assert row["baseline"] == row["meta_test_baseline"] == row["baseline_beaten"] == ""
