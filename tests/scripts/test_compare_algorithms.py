"""scripts/compare_algorithms.py: what its table says of runs, and that runs are not repeated."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import compare_algorithms

    return compare_algorithms


def record(mean: float, *, beats: bool = True, metric: str = "accuracy") -> dict[str, Any]:
    return {"metric": metric, "mean": mean, "ci95": 0.01, "beats_baselines": beats}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], ""),
        ([{"refused": "takes classes"}] * 3, "refused"),
        ([{"diverged": "not finite"}] * 3, "diverged"),
        # Student's t with two degrees of freedom: 4.3027 · 0.01 / √3
        ([record(0.89), record(0.9), record(0.91)], "0.900 ± 0.025"),
        ([record(0.89), record(0.9), record(0.91, beats=False)], "0.900 ± 0.025 †"),
        ([record(0.9)], "0.900 (1 seed)"),
        ([*[record(0.5, metric="mse")] * 2, {"diverged": "x"}], "0.5000 ± 0.0000 (2 seeds, 1 diverged)"),
    ],
)  # fmt: skip
def test_cell_shows_seeds_divergence_and_baselines(script: Any, found: list[dict[str, Any]], expected: str) -> None:
    assert script.cell(found, 3) == expected


def test_every_algorithm_is_planned_and_the_first_seed_comes_first(script: Any, tmp_path: Path) -> None:
    runs = list(script.planned(tmp_path, script.names(), [0, 1]))
    assert len(runs) == 2 * 3 * len(script.names())
    assert len({run.folder for run in runs}) == len({run.key for run in runs}) == len(runs)
    assert [run.seed for run in runs] == sorted(run.seed for run in runs)
    assert all(f"seed={run.seed}" in run.overrides for run in runs)
    steps = {
        problem: {item for run in runs if run.problem == problem for item in run.overrides if "engine.steps=" in item}
        for problem in script.PROBLEMS
    }
    assert all(len(found) == 1 for found in steps.values())
    assert steps["letters 5-way 1-shot"] == steps["letters 5-way 5-shot"]


def test_a_record_holds_for_its_settings_only(script: Any, tmp_path: Path) -> None:
    run, *_ = script.planned(tmp_path, ["maml"], [0])
    file = tmp_path / "results.json"
    script.ResultsFile(file).add(run, record(0.9))
    assert script.ResultsFile(file).get(run)["mean"] == 0.9
    other = script.Run(run.name, run.problem, run.seed, run.folder, [*run.overrides, "algorithm.inner_lr=1"])
    assert script.ResultsFile(file).get(other) is None


def test_a_folder_with_a_run_of_other_settings_is_refused(script: Any, tmp_path: Path) -> None:
    """Its figures would be recorded as those of the new settings."""
    from comparisons.runs import refuse_other_settings

    run, *_ = script.planned(tmp_path, ["maml"], [0])
    refuse_other_settings(run)
    run.folder.mkdir(parents=True)
    refuse_other_settings(run)
    with pytest.raises(SystemExit, match="holds a run with other settings"):
        refuse_other_settings(replace(run, overrides=[*run.overrides, "algorithm.inner_lr=1"]))


def test_only_the_table_between_the_markers_is_replaced(script: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    begin, end = script.MARKERS
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    script.replace_table(page, "| new |", script.MARKERS)
    assert page.read_text() == f"before\n{begin}\n| new |\n{end}\nafter\n"
    page.write_text("no markers")
    with pytest.raises(SystemExit, match="has no lines"):
        script.replace_table(page, "| new |", script.MARKERS)
