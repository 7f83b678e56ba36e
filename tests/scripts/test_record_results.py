"""scripts/record_results.py, and that the heads of experiments and docs/results.md show what is recorded."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from metarun.config.compose import compose, plain
from metarun.core.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import record_results

    return record_results


def test_heads_of_experiments_match_the_records(script: Any) -> None:
    """If this fails, run scripts/record_results.py."""
    for file, text in script.heads(script.read()):
        assert file.read_text(encoding="utf-8") == text


def test_the_page_shows_what_is_recorded(script: Any) -> None:
    """If this fails, run scripts/record_results.py."""
    page = script.PAGE.read_text(encoding="utf-8")
    assert page.partition(script.MARKERS[0])[2].partition(script.MARKERS[1])[0].strip() == script.table(script.read())


def test_records_match_the_experiments(script: Any) -> None:
    """If this fails, an experiment was changed or removed: run it again and record the run, or delete the record."""
    for one in script.read():
        assert one["settings"] == script.digest(one["experiment"]), one["experiment"]


def run(folder: Path, *overrides: str, mean: float = 0.25) -> Path:
    """The folder of a finished run, as far as it is read."""
    folder.mkdir()
    composed = compose([*overrides])
    (folder / "config.yaml").write_text(yaml.safe_dump(plain(composed, composed.hydra.runtime.choices)))
    content = {
        "metric": "mse",
        "meta_test": {"metrics": {"mse": {"mean": mean, "ci95": 0.01, "episodes": 2000}}},
        "train": {"device": "cpu", "threads": 1, "seconds": 126.0},
        "versions": {"metarun": "0.1.0", "torch": "2.13.0+cpu", "python": "3.11.7"},
    }
    (folder / "result.json").write_text(json.dumps(content))
    (folder / "status.json").write_text(json.dumps({"status": "done", "time": "2026-11-27T10:44:52+00:00"}))
    return folder


@pytest.fixture
def elsewhere(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copies of all that the script writes."""
    for name in ("RECORDS", "PAGE"):
        file = tmp_path / getattr(script, name).name
        file.write_bytes(getattr(script, name).read_bytes())
        monkeypatch.setattr(script, name, file)
    folder = tmp_path / "experiment"
    folder.mkdir()
    for file in script.EXPERIMENTS.glob("*.yaml"):
        (folder / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(script, "EXPERIMENTS", folder)
    (tmp_path / "results.json").write_text("[]")
    return tmp_path


def test_a_run_is_written_to_the_file_the_head_and_the_page(
    script: Any, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [
        run(elsewhere / "0", "experiment=maml_sinusoid", "device.threads=1", "tracking=scalars"),
        run(elsewhere / "7", "experiment=maml_sinusoid", "seed=7", mean=0.5),
    ]
    arguments = ["record_results.py", *map(str, folders), "--machine", "two cores"]
    for _ in range(2):  # again replaces
        monkeypatch.setattr("sys.argv", arguments)
        script.main()
        head = (elsewhere / "experiment" / "maml_sinusoid.yaml").read_text().partition("defaults:")[0]
        assert head.endswith(
            "# Expected result on meta-test, with time of meta-training:\n"
            "#   seed 0: mse 0.2500 ± 0.0100, 2.1 min (two cores, 1 thread)\n"
            "#   seed 7: mse 0.5000 ± 0.0100, 2.1 min (two cores, 1 thread)\n"
        )
        cells = "| `maml_sinusoid` | 7 | mse 0.5000 ± 0.0100 | 2,000 | 2.1 | two cores | 1 | 2.13.0 | 2026-11-27 |"
        assert cells in (elsewhere / "results.md").read_text()
        assert [one["seed"] for one in script.read()] == [0, 7]


def test_experiment_without_a_record_is_marked(script: Any, elsewhere: Path) -> None:
    (elsewhere / "experiment" / "new.yaml").write_text("# @package _global_\n# New.\nseed: 1\n")
    assert dict(script.heads([]))[elsewhere / "experiment" / "new.yaml"] == (
        "# @package _global_\n# New.\n# Expected result: not recorded yet.\nseed: 1\n"
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["algorithm=maml"], "not a run of an experiment; start it with experiment=NAME"),
        (["experiment=maml_sinusoid", "engine.steps=7"], "differs from experiment=maml_sinusoid in engine.steps; run"),
    ],
)
def test_other_runs_are_refused(script: Any, tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        script.record(run(tmp_path / "run", *overrides), "here")


def test_an_unfinished_run_is_refused(script: Any, tmp_path: Path) -> None:
    folder = run(tmp_path / "run", "experiment=maml_sinusoid")
    (folder / "result.json").unlink()
    with pytest.raises(UserError, match=r"not a finished run: .*result\.json cannot be read"):
        script.record(folder, "here")
