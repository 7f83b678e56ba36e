"""scripts/compare_defaults.py: what it plans and what its tables say, and a small form of it run whole."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import compare_defaults

    return compare_defaults


def record(mean: float, before: float, *, higher: bool = False, beats: bool = True) -> dict[str, Any]:
    return {"mean": mean, "ci95": 0.1, "before": before, "higher_is_better": higher, "beats_baselines": beats}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], ""),
        ([{"refused": "takes classes"}], "–"),
        ([{"diverged": "not finite"}], "diverged"),
        ([record(1.0, 2.0)], "1"),
        ([record(2.2, 2.0)], "2.2 ‡"),
        ([record(2.05, 2.0)], "2.05"),  # within the interval
        ([record(0.5, 0.8, higher=True, beats=False)], "0.5 ‡ †"),
        ([record(0.8, 0.2, higher=True), record(0.8, 0.2, higher=True)], "0.8 ± 0"),
        ([record(1.0, 2.0), {"diverged": "x"}], "1 (1 diverged)"),
        ([{**record(1.0, 2.0), "ci95": None}], "1"),  # of a single task
        ([{**record(2.05, 2.0), "ci95": None}], "2.05 ‡"),
    ],
)
def test_cell_marks_results_no_better_than_the_baseline(
    script: Any, found: list[dict[str, Any]], expected: str
) -> None:
    assert script.cell(found) == expected


def test_nothing_is_set_but_the_budget(script: Any, tmp_path: Path) -> None:
    runs = list(script.planned(tmp_path, list(script.DATASETS), script.algorithms(), list(script.HYPERNETS), [0, 1]))
    assert len({run.folder for run in runs}) == len({run.key for run in runs}) == len(runs)
    assert len(runs) == 2 * len(script.DATASETS) * len(script.algorithms()) * len(script.HYPERNETS)
    data = {"dataset", "dataset.path", "dataset.task", "dataset.target", "model"}
    for run in runs:
        keys = {item.partition("=")[0] for item in run.overrides if item not in script.BUDGET}
        assert keys <= {*data, "algorithm", "hypernet", "embedding", "seed"}


def test_no_recorded_default_is_worse_than_doing_nothing(script: Any) -> None:
    recorded = json.loads((ROOT / "docs" / "defaults.json").read_text(encoding="utf-8"))
    assert not [name for name, found in recorded.items() if "diverged" in found]
    measured = {name: found for name, found in recorded.items() if "mean" in found}
    assert len(measured) > 200
    assert not [name for name, found in measured.items() if script.worse_than_before(found)]


@pytest.mark.slow
def test_no_default_is_worse_than_doing_nothing(tmp_path: Path) -> None:
    """On regression, where step sizes made for letters end in infinities, and on a table as users have them."""
    results = tmp_path / "results.json"
    chosen = ["--datasets=sinusoid,harmonics,table", "--algorithms=maml,meta_sgd"]
    options = [*chosen, "--hypernets=none,film", f"--results={results}", "--jobs=2"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "compare_defaults.py"), str(tmp_path / "runs"), *options],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    records = json.loads(results.read_text(encoding="utf-8"))
    assert len(records) == 3 * 2 * 2
    for name, record in records.items():
        assert "diverged" not in record, name
    assert "‡" not in done.stdout, done.stdout
