"""The paired test of two runs, and when it is refused."""

from pathlib import Path

import pytest
from run_folders import result, write_episodes, write_run

from metarun.core.errors import UserError
from metarun.report.comparison import compare
from metarun.report.statistics import paired

FIRST, SECOND = [0.9, 0.8, 0.7, 0.9], [0.5, 0.8, 0.75, 0.6]


def pair(tmp_path: Path, **overrides: object) -> tuple[str, str]:
    """Two runs of the same episodes, the second with other settings."""
    first = write_run(tmp_path / "first")
    second = write_run(tmp_path / "second", {"algorithm": "anil", **overrides})
    write_episodes(first, accuracy=FIRST, loss=[1, 2, 3, 4], accuracy_before=[0.2] * 4)
    write_episodes(second, accuracy=SECOND, loss=[1.5, 2, 2, 8], accuracy_before=[0.2] * 4)
    return str(first), str(second)


def test_the_runs_own_metric_is_compared_episode_by_episode(tmp_path: Path) -> None:
    (found,) = compare(*pair(tmp_path), [])
    assert (found.metric, found.found) == ("accuracy", paired(FIRST, SECOND))
    assert found.wins == (2, 1)
    told = "\n".join(found.lines())
    assert "the same 4 meta-test episodes" in told
    # By hand: deviation √(0.146875 / 3), quantile 3.18245, t = 1.469; p = 1 - 2 (θ + sin θ cos θ) / π, tan θ = t / √3.
    assert "A - B = 0.1625 ± 0.3521 (95 % interval), p = 0.238 (paired t-test)" in told
    assert "A 2, B 1, equal 1" in told


def test_of_losses_less_wins(tmp_path: Path) -> None:
    (found,) = compare(*pair(tmp_path), ["loss"])
    assert found.found.difference.mean < 0
    assert found.wins == (2, 1)


def test_tiny_probabilities_are_not_printed_as_zero(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    write_episodes(Path(first), accuracy=[value + 0.4 for value in SECOND])
    assert "p < 1e-12" in compare(first, second, [])[0].lines()[3]


def test_visits_to_one_task_count_as_one(tmp_path: Path) -> None:
    """Twelve episodes of three tasks: the test is that of the three tasks' mean differences."""
    first, second = pair(tmp_path)
    by_task, within = [0.3, 0.1, 0.2], [-0.05, 0.0, 0.03, 0.02]
    names = [f"s{n % 3}" for n in range(12)]
    for folder, sign in ((first, 1), (second, 0)):
        values = [0.5 + sign * (by_task[n % 3] + within[n // 3]) for n in range(12)]
        write_episodes(Path(folder), task=[n % 3 for n in range(12)], task_name=names, accuracy=values)
    (found,) = compare(first, second, [])
    expected = paired(by_task, [0, 0, 0])
    assert found.found.p == pytest.approx(expected.p)
    assert found.found.difference.half == pytest.approx(expected.difference.half)
    told = "\n".join(found.lines())
    assert "12 meta-test episodes of 3 tasks" in told
    assert "(paired t-test, clustered by task)" in told


def test_few_classes_have_an_interval_for_others_too(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    classes = [f"{n % 4} {(n + 1 + n // 4 % 3) % 4}" for n in range(24)]
    for folder, sign in ((first, 1), (second, 0)):
        own = [sign * (0.1 * int(row[0]) + 0.01 * (n % 5)) for n, row in enumerate(classes)]
        write_episodes(Path(folder), task=list(range(24)), task_name=[""] * 24, classes=classes, accuracy=own)
    (found,) = compare(first, second, [])
    assert found.other_classes is not None
    assert found.other_classes.half > found.found.difference.half
    assert any(line.startswith("  for other classes than these 4 classes: A - B = ") for line in found.lines())


@pytest.mark.parametrize("setting", ["dataset.train_shots", "dataset.tasks", "engine.steps", "engine.transductive"])
def test_settings_without_effect_on_episodes_may_differ(tmp_path: Path, setting: str) -> None:
    assert compare(*pair(tmp_path, **{setting: 3}), [])


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("engine.episode_seed", 1, "engine.episode_seed is 0 and 1"),
        ("dataset.shots", 5, "dataset.shots is 1 and 5"),
        ("dataset", "omniglot", "dataset is glyphs and omniglot"),
        ("dataset.noise", 0.1, "dataset.noise is no such key and 0.1"),
    ],
)
def test_other_episodes_are_refused(tmp_path: Path, setting: str, value: object, told: str) -> None:
    with pytest.raises(UserError, match=f"not the same episodes: {told}"):
        compare(*pair(tmp_path, **{setting: value}), [])


def test_other_numbers_of_episodes_are_refused(tmp_path: Path) -> None:
    first, second = pair(tmp_path)
    write_episodes(Path(second), accuracy=SECOND[:3])
    with pytest.raises(UserError, match=r"not the same episodes: 4 of .*first and 3 of .*second"):
        compare(first, second, [])
    write_episodes(Path(first), accuracy=[0.9])
    write_episodes(Path(second), accuracy=[0.9])
    with pytest.raises(UserError, match="two or more"):
        compare(first, second, [])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "cannot be read"),
        ("a,b\n1,2\n", "cannot be read"),
        ("episode,accuracy\n0,0.9\n2,0.8\n", "missing or out of order"),
        ("episode,accuracy\n0,0.9\n1\n", "cannot be read"),
        ("episode,accuracy\n0,0.9\n1,x\n2,1\n3,1\n", "cannot be read"),
        ("episode,accuracy\n0,0.9\n1,nan\n2,1\n3,1\n", "accuracy of episode 1 is nan"),
        ("episode,accuracy\n0,0.9\n1,1e300\n2,1\n3,1\n", r"accuracy of episode 1 is 1e\+300"),
    ],
)
def test_broken_episodes_are_refused(tmp_path: Path, content: str, told: str) -> None:
    first, second = pair(tmp_path)
    (Path(second) / "episodes.csv").write_text(content)
    with pytest.raises(UserError, match=told):
        compare(first, second, [])


def test_folders_without_a_finished_run_are_refused(tmp_path: Path) -> None:
    first, _ = pair(tmp_path)
    failed = write_run(tmp_path / "failed", status="failed")
    (tmp_path / "nothing").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    for folder, told in (
        (failed, "is failed, not done"),
        (tmp_path / "nothing", "empty"),
        (tmp_path / "x", "no run's"),
    ):
        with pytest.raises(UserError, match=told):
            compare(first, str(folder), [])
    with pytest.raises(UserError, match="no run's folder"):
        compare(str(tmp_path / "other"), first, [])
    broken = write_run(tmp_path / "broken", outcome=result())
    (broken / "episodes.csv").unlink(missing_ok=True)
    with pytest.raises(UserError, match=r"episodes.csv cannot be read"):
        compare(first, str(broken), [])


def test_missing_metric(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--metric acuracy: .*did you mean 'accuracy'\? \(metrics: accuracy, loss\)"):
        compare(*pair(tmp_path), ["acuracy"])
