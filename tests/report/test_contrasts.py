"""Differences between configurations over all seeds at once, and the effects of an ablation's factors."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from run_folders import result, write_episodes, write_run
from scipy import stats

from metarun.core.errors import UserError
from metarun.report.command import main
from metarun.report.contrasts import against, conditions, contrast
from metarun.report.effects import effects
from metarun.report.grouping import Group, grouped
from metarun.report.runs import read

SEEDS, EPISODES = 3, 40
Values = Callable[[Mapping[str, Any], int], NDArray[np.float64]]


def written(folder: Path, settings: Sequence[Mapping[str, Any]], values: Values, **columns: Sequence[Any]) -> Group:
    """The group of runs with these settings, each with three seeds on the same episodes, with a value for each."""
    runs = []
    for number, (own, seed) in enumerate(product(settings, range(SEEDS))):
        found = values(own, seed)
        place = folder / f"{number:03}"
        more = {"engine.episode_seed": 0, "seed": seed}
        write_run(place, {**own, **more}, result(float(found.mean()), float(found.mean()), episodes=len(found)))
        write_episodes(place, **columns, accuracy=found.tolist())
        runs.append(read(place))
    (group,), _ = grouped([run for run in runs if run is not None], [], None)
    return group


def hard_and_easy(own: Mapping[str, Any], seed: int) -> NDArray[np.float64]:
    """Episodes that are hard for all, seeds that differ, and an effect of 0.02 for each letter of the algorithm."""
    random = np.random.default_rng([seed, *repr(sorted(own.items())).encode()])
    hard = np.random.default_rng(7).normal(0.7, 0.1, EPISODES)
    found: NDArray[np.float64] = hard + 0.02 * len(own.get("algorithm", "maml")) + random.normal(0, 0.02, EPISODES)
    return found + random.normal(0, 0.01)


def test_a_contrast_is_the_crossed_test_of_the_differences(tmp_path: Path) -> None:
    settings = [{"algorithm": "maml"}, {"algorithm": "meta_sgd"}]
    group = written(tmp_path, settings, hard_and_easy)
    differences = np.stack(
        [hard_and_easy(settings[1], seed) - hard_and_easy(settings[0], seed) for seed in range(SEEDS)]
    )
    center = differences.mean()
    rows, columns = differences.mean(1, keepdims=True), differences.mean(0, keepdims=True)
    of_seeds = ((rows - center) ** 2).sum() / (SEEDS - 1) / SEEDS
    of_episodes = ((columns - center) ** 2).sum() / (EPISODES - 1) / EPISODES
    rest = ((differences - rows - columns + center) ** 2).sum() / ((SEEDS - 1) * (EPISODES - 1)) / differences.size
    of_tasks = max(0.0, of_episodes - rest)

    def half(p: float) -> float:
        return sqrt(stats.t.isf(p / 2, SEEDS - 1) ** 2 * of_seeds + stats.t.isf(p / 2, EPISODES - 1) ** 2 * of_tasks)

    maml, other = sorted(group.configurations, key=lambda one: str(one.first.settings["algorithm"]))
    found = contrast([(other, maml)], "accuracy")
    assert found is not None
    assert (found.seeds, found.tasks) == (SEEDS, EPISODES)
    assert found.difference.mean == pytest.approx(center)
    assert found.difference.half == pytest.approx(half(0.05))
    assert found.p is not None
    assert half(found.p) == pytest.approx(abs(center))


def test_contradicting_seeds_are_not_significant(tmp_path: Path) -> None:
    """Each of two seeds is significant by itself, in favor of the other method."""

    def values(own: Mapping[str, Any], seed: int) -> NDArray[np.float64]:
        noise = np.random.default_rng([seed, ord(own["algorithm"][0])]).normal(0, 0.05, EPISODES)
        sign = {0: 1, 1: -1, 2: 0}[seed]
        found: NDArray[np.float64] = 0.7 + (0.05 * sign if own["algorithm"] == "anil" else 0) + noise
        return found

    group = written(tmp_path, [{"algorithm": "maml"}, {"algorithm": "anil"}], values)
    for seed in (0, 1):
        test = stats.ttest_rel(values({"algorithm": "anil"}, seed), values({"algorithm": "maml"}, seed))
        assert test.pvalue < 0.02
    anil, maml = sorted(group.configurations, key=lambda one: str(one.first.settings["algorithm"]))
    found = contrast([(anil, maml)], "accuracy")
    assert found is not None
    assert found.p is not None
    assert found.p > 0.5


def test_against_compares_all_with_the_reference_and_corrects_by_holm(tmp_path: Path) -> None:
    names = ("anil", "maml", "reptile", "meta_sgd")
    group = written(tmp_path, [{"algorithm": name} for name in names], hard_and_easy)
    wanted = conditions([group], ["algorithm=maml"])
    (found,) = against(group, wanted)
    assert found.title.startswith("against algorithm=maml · ")
    assert found.header == ["algorithm", "difference in meta-test accuracy", "p", "p (Holm)", "seeds"]
    assert sorted(row[0] for row in found.rows) == ["anil", "meta_sgd", "reptile"]
    by_name = {one.first.settings["algorithm"]: one for one in group.configurations}
    effect = {name: contrast([(by_name[name], by_name["maml"])], "accuracy") for name in names if name != "maml"}
    ps = sorted((one.p, name) for name, one in effect.items() if one is not None and one.p is not None)
    told = {row[0]: row for row in found.rows}
    smallest, name = ps[0]
    assert told[name][2:4] == [f"{smallest:.3g}", f"{3 * smallest:.3g}"]


def test_reference_with_equal_other_keys_is_used(tmp_path: Path) -> None:
    settings = [{"hypernet": a, "algorithm": b} for a, b in product(("none", "film"), ("maml", "reptile"))]
    group = written(tmp_path, settings, hard_and_easy)
    (found,) = against(group, conditions([group], ["hypernet=none"]))
    assert [row[0] for row in found.rows] == ["film", "film"]
    by_names = {
        tuple(one.first.settings[key] for key in ("hypernet", "algorithm")): one for one in group.configurations
    }
    for row in found.rows:
        expected = contrast([(by_names["film", row[1]], by_names["none", row[1]])], "accuracy")
        assert expected is not None
        assert float(row[2].split(" ± ")[0]) == pytest.approx(expected.difference.mean, abs=1e-5)
    alone = {"hypernet": "none", "algorithm": "anil"}
    group = written(tmp_path / "more", [*settings, alone, {"hypernet": "film", "algorithm": "boil"}], hard_and_easy)
    with pytest.raises(UserError, match=r"--against hypernet=none: .* are both as near to 'film boil'; name one"):
        against(group, conditions([group], ["hypernet=none"]))


def test_unknown_reference_is_an_error(tmp_path: Path) -> None:
    group = written(tmp_path, [{"algorithm": "maml"}, {"algorithm": "anil"}], hard_and_easy)
    for typed, told in (
        ("algorithm", "KEY=VALUE is expected"),
        ("algorithn=maml", "did you mean algorithm"),
        ("algorithm=boil", "no finished run has these settings"),
    ):
        with pytest.raises(UserError, match=told):
            conditions([group], [typed])


def test_effects_of_a_grid_are_averaged_over_other_factors(tmp_path: Path) -> None:
    """Means by hand: an effect of film of 0.05, with reptile 0.03 more; of a further channel 0.001."""

    def values(own: Mapping[str, Any], seed: int) -> NDArray[np.float64]:
        film, reptile = own["hypernet"] == "film", own["algorithm"] == "reptile"
        found: NDArray[np.float64] = hard_and_easy({}, seed) + 0.05 * film + 0.03 * film * reptile
        return found + 0.001 * (own["model.channels"] - 32)

    grid = product(("none", "film"), ("maml", "reptile"), (32, 64))
    settings = [{"hypernet": a, "algorithm": b, "model.channels": c} for a, b, c in grid]
    group = written(tmp_path, settings, values)
    (found,) = effects(group)
    assert found.header[:4] == ["factor", "value", "instead of", "pairs"]
    assert [row[:4] for row in found.rows] == [
        ["hypernet", "film", "none", "4"],
        ["algorithm", "reptile", "maml", "4"],
        ["channels", "64", "32", "4"],
    ]
    means = [float(row[4].split(" ± ")[0]) for row in found.rows]
    assert means == pytest.approx([0.065, 0.015, 0.032], abs=1e-6)


def test_joined_options_are_one_factor(tmp_path: Path) -> None:
    pairs = [("none", "none"), ("film", "support"), ("full", "support"), ("film", "fisher"), ("full", "fisher")]
    settings = [{"hypernet": a, "embedding": b, "algorithm": c} for (a, b), c in product(pairs, ("maml", "reptile"))]
    (found,) = effects(written(tmp_path, settings, hard_and_easy))
    assert [row[0] for row in found.rows] == ["embedding+hypernet"] * 4 + ["algorithm"]
    assert {row[2] for row in found.rows[:4]} == {"none+none"}
    assert {row[1] for row in found.rows[:4]} == {f"{b}+{a}" for a, b in pairs[1:]}
    assert [row[3] for row in found.rows] == ["2"] * 4 + ["5"]


def test_a_search_has_no_effects(tmp_path: Path) -> None:
    settings = [{"algorithm.inner_lr": 0.1 + n / 7, "algorithm.outer.lr": 0.01 + n / 90} for n in range(5)]
    assert effects(written(tmp_path, settings, hard_and_easy)) == []


def test_recurring_tasks_and_failed_seeds(tmp_path: Path) -> None:
    tasks = [number % 8 for number in range(EPISODES)]
    names = [f"s{task}" for task in tasks]
    group = written(
        tmp_path, [{"algorithm": "maml"}, {"algorithm": "anil"}], hard_and_easy, task=tasks, task_name=names
    )
    anil, maml = sorted(group.configurations, key=lambda one: str(one.first.settings["algorithm"]))
    found = contrast([(anil, maml)], "accuracy")
    assert found is not None
    assert (found.seeds, found.tasks) == (3, 8)
    write_run(tmp_path / "failed", {"algorithm": "anil", "seed": 3, "engine.episode_seed": 0}, status="failed")
    write_run(tmp_path / "more", {"algorithm": "maml", "seed": 3, "engine.episode_seed": 0})
    runs = [run for place in sorted(tmp_path.iterdir()) if (run := read(place)) is not None]
    (group,), _ = grouped(runs, [], None)
    (table,) = against(group, conditions([group], ["algorithm=maml"]))
    assert table.rows[0][-1] == "3 of 4"


def test_without_single_episodes_the_seeds_differences_are_tested(tmp_path: Path) -> None:
    means = {"maml": [0.5, 0.6, 0.7], "anil": [0.53, 0.62, 0.76]}
    for name, values in means.items():
        for seed, value in enumerate(values):
            write_run(tmp_path / f"{name}{seed}", {"algorithm": name, "seed": seed}, result(value, value))
    runs = [run for place in sorted(tmp_path.iterdir()) if (run := read(place)) is not None]
    (group,), _ = grouped(runs, [], None)
    anil, maml = sorted(group.configurations, key=lambda one: str(one.first.settings["algorithm"]))
    found = contrast([(anil, maml)], "accuracy")
    assert found is not None
    assert found.p == pytest.approx(stats.ttest_rel(means["anil"], means["maml"]).pvalue)


def test_the_command_shows_both_tables_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = [{"hypernet": a, "algorithm": b} for a, b in product(("none", "film"), ("maml", "reptile"))]
    written(tmp_path / "sweep", settings, hard_and_easy)
    files = {name: tmp_path / f"out.{name}" for name in ("markdown", "html", "latex")}
    options = [text for name, file in files.items() for text in (f"--{name}", str(file))]
    assert main([str(tmp_path / "sweep"), "--against", "hypernet=none", *options]) == 0
    told = capsys.readouterr().out
    for text in (told, *(file.read_text() for file in files.values())):
        assert "against hypernet=none" in text
        assert "effects" in text
        assert "p (Holm)" in text
    assert main([str(tmp_path / "sweep"), "--against", "hypernet=full"]) == 2
    assert "no finished run has these settings" in capsys.readouterr().err
