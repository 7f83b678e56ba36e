"""What stands side by side, and what is best."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_folders import config, result

from metarun.core.best_configuration import Seeds
from metarun.core.errors import UserError
from metarun.core.intervals import Estimate
from metarun.report.grouping import Group, grouped, label
from metarun.report.runs import Run, flat
from metarun.report.statistics import over_seeds


def run(overrides: dict[str, Any] | None = None, test: float | None = 0.9, val: float | None = 0.9, **more: Any) -> Run:
    status = more.pop("status", "done")
    folder, time = Path(more.pop("folder", "run")), more.pop("time", "2026-01-01")
    outcome = result(test, val, **more) if status == "done" else {}
    return Run(folder, flat(config(overrides)), status, "", time, outcome)


def only(runs: Sequence[Run], *metrics: str, sort: str | None = None) -> Group:
    (group,), _ = grouped(runs, metrics, sort)
    return group


def test_seeds_of_a_configuration_are_one_row() -> None:
    group = only([run({"seed": seed}, 0.9 + seed / 100, 0.8) for seed in (2, 0, 1)])
    (one,) = group.configurations
    assert [seed.seed for seed in one.runs] == [0, 1, 2]
    assert one.over_seeds("meta_test", "accuracy") == over_seeds([0.90, 0.91, 0.92])
    over_episodes = one.over_episodes("meta_test", "accuracy")
    assert over_episodes == Estimate(pytest.approx(0.91), pytest.approx(0.01 / 3**0.5))
    assert group.best is None
    assert group.keys == []
    assert group.title == "glyphs · 5-way 1-shot · 15 queries · inductive · conv4 · maml · accuracy"


def test_the_best_is_chosen_by_validation_and_never_by_test() -> None:
    group = only([run({"algorithm": "maml"}, test=0.99, val=0.7), run({"algorithm": "anil"}, test=0.6, val=0.8)])
    assert group.best is not None
    assert group.best.first.settings["algorithm"] == "anil"
    assert [one.first.settings["algorithm"] for one in group.configurations] == ["anil", "maml"]


def test_of_errors_the_lowest_is_best() -> None:
    group = only([run({"algorithm": "maml"}, val=2.0, metric="mse"), run({"algorithm": "anil"}, val=3.0, metric="mse")])
    assert group.best is not None
    assert group.best.first.settings["algorithm"] == "maml"


def test_direction_of_a_metric_is_read_from_the_runs() -> None:
    for higher, best in ((True, "anil"), (False, "maml")):
        direction = {"higher_is_better": {"lossiness": higher, "loss": False}}
        values = (("maml", 0.2), ("anil", 0.3))
        group = only([run({"algorithm": name}, val, val, metric="lossiness", **direction) for name, val in values])
        assert group.lower_is_better("lossiness") is not higher
        assert group.best is not None
        assert group.best.first.settings["algorithm"] == best
        assert group.configurations[0] is group.best


def test_what_is_not_finite_is_neither_best_nor_averaged_away() -> None:
    runs = [run({"algorithm": "anil", "seed": seed}, None if seed else 0.9, None if seed else 0.99) for seed in (0, 1)]
    group = only([*runs, run({"algorithm": "maml"}, val=0.2)])
    assert group.best is not None
    assert group.best.first.settings["algorithm"] == "maml"
    anil = group.configurations[1]
    assert anil.by_seed("meta_test", "accuracy") == Seeds((0.9,), failed=1)
    assert anil.lacking("meta_test", "accuracy") == ["not finite"]


def test_survivors_do_not_win() -> None:
    """Seeds that failed, diverged or are missing count against a configuration, however good the others are."""

    def best(*anil: Run) -> str:
        complete = [run({"algorithm": "maml", "seed": seed}, val=0.2) for seed in range(3)]
        group = only([*complete, *anil])
        assert group.best is not None
        assert group.configurations[0] is group.best, "it stands first in the table"
        return str(group.best.first.settings["algorithm"])

    good = [run({"algorithm": "anil", "seed": seed}, val=0.99) for seed in range(3)]
    assert best(*good) == "anil"
    assert best(*good[:2], run({"algorithm": "anil", "seed": 2}, status="failed")) == "maml"
    assert best(*good[:2], run({"algorithm": "anil", "seed": 2}, val=None)) == "maml"
    assert best(*good[:2], run({"algorithm": "anil", "seed": 2}, status="running")) == "maml"
    assert best(*good[:2]) == "maml"


def test_best_among_configurations_that_all_lack_seeds() -> None:
    runs = [run({"algorithm": name, "seed": 0}, val=val) for name, val in (("maml", 0.5), ("anil", 0.9))]
    failed = [run({"algorithm": name, "seed": 1}, status="failed") for name in ("maml", "anil")]
    group = only([*runs, *failed])
    assert group.best is not None
    assert group.best.first.settings["algorithm"] == "anil"


def test_problems_and_metrics_are_not_mixed() -> None:
    runs = [
        run(),
        run({"dataset.shots": 5}),
        run({"engine.transductive": True}),
        run({"dataset": "sinusoid", "dataset.ways": None}, metric="mse"),
        run({"dataset.train_shots": 5}),
        run({"dataset.fractions": [0.5, 0.5]}),
    ]
    groups, _ = grouped(runs, [], None)
    assert [(group.title, len(group.configurations)) for group in groups] == [
        ("glyphs · 5-way 1-shot · 15 queries · inductive · conv4 · maml · accuracy", 2),
        ("glyphs · 5-way 5-shot · 15 queries · inductive · conv4 · maml · accuracy", 1),
        ("glyphs · 5-way 1-shot · 15 queries · transductive · conv4 · maml · accuracy", 1),
        ("sinusoid · 1-shot · 15 queries · inductive · conv4 · maml · mse", 1),
        ("glyphs · 5-way 1-shot · 15 queries · fractions=[0.5,0.5] · inductive · conv4 · maml · accuracy", 1),
    ]
    assert groups[0].keys == ["dataset.train_shots"]


def test_the_newest_of_the_same_settings_and_seed_counts() -> None:
    again = [run(test=0.1 * n, time=f"2026-01-0{n}", folder=f"run{n}") for n in (2, 3, 1)]
    (group,), left_out = grouped(again, [], None)
    assert group.configurations[0].runs == [again[1]]
    assert [(str(older.folder), str(newer.folder)) for older, newer in left_out] == [("run1", "run3"), ("run2", "run3")]


def test_what_failed_stands_with_its_configuration() -> None:
    done = [run({"algorithm": name, "seed": seed}) for name in ("maml", "anil") for seed in (0, 1)]
    failed = run({"algorithm": "anil", "seed": 2}, status="failed")
    again = run({"algorithm": "maml", "seed": 0}, status="failed")
    alone = run({"algorithm": "anil", "algorithm.outer.lr": 7.0}, status="failed")
    group = only([*done, failed, again, alone])
    assert {one.first.settings["algorithm"]: one.unfinished for one in group.configurations} == {
        "maml": [],  # its seed 0 was done by another run
        "anil": [failed],
    }
    assert group.keys == ["algorithm"]


def test_metrics_asked_for() -> None:
    runs = [run({"algorithm": name}, val=0.5) for name in ("maml", "anil")]
    assert only(runs, "loss").metrics == ["loss"]
    assert only(runs, "loss", "accuracy").title.endswith(" · loss, accuracy")
    both, _ = grouped([*runs, run({"dataset": "sinusoid"}, metric="mse")], ["mse"], None)
    assert [group.metrics for group in both] == [["mse"]]
    with pytest.raises(UserError, match=r"--metric acuracy: no run has it; did you mean 'accuracy'\?"):
        grouped(runs, ["acuracy"], None)


def test_a_pooled_metric_leaves_selection_to_the_runs_own() -> None:
    pooled = {"explained_variance": 0.4}
    runs = [
        run({"algorithm": name}, val=val, metric="mse", pooled=pooled) for name, val in (("maml", 2.0), ("anil", 1.0))
    ]
    group = only(runs, "explained_variance")
    assert group.selecting == "mse"
    assert group.best is not None
    assert group.best.first.settings["algorithm"] == "anil"


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        (None, ["b", "c", "a", "d"]),
        ("val", ["b", "c", "a", "d"]),
        ("-val", ["a", "c", "b", "d"]),
        ("test", ["a", "b", "c", "d"]),
        ("algorithm", ["a", "b", "c", "d"]),
        ("-algorithm", ["d", "c", "b", "a"]),
        ("lr", ["d", "c", "b", "a"]),
        ("-algorithm.outer.lr", ["b", "c", "d", "a"]),
    ],
)
def test_sorting_puts_missing_values_last(sort: str | None, expected: list[str]) -> None:
    rows = [("a", 0.9, 0.1, None), ("b", 0.8, 0.9, 100.0), ("c", 0.7, 0.5, 20.0), ("d", None, None, 3.0)]
    runs = [run({"algorithm": name, "algorithm.outer.lr": lr}, test, val) for name, test, val, lr in rows]
    order = only(runs, sort=sort).configurations
    assert [one.first.settings["algorithm"] for one in order] == expected


def test_sorting_by_a_missing_metric() -> None:
    with pytest.raises(UserError, match=r"--sort lrr: no run has a key 'lrr'; did you mean algorithm.outer.lr\?"):
        grouped([run()], [], "lrr")


def test_labels_contain_options_and_keys() -> None:
    group = only([run({"algorithm": "anil", "algorithm.outer.lr": 0.1}), run({"model.channels": 8}), run()])
    assert group.keys == ["algorithm", "model.channels"]
    assert [group.label(one) for one in group.configurations] == [
        "anil channels=64",
        "maml channels=8",
        "maml channels=64",
    ]
    assert only([run()]).label(only([run()]).configurations[0]) == "maml"
    assert label(run(), {"gone": "gone", "seed": "seed"}) == "seed=0"


drawn = st.lists(
    st.fixed_dictionaries(
        {
            "seed": st.integers(0, 2),
            "algorithm": st.sampled_from(["maml", "anil"]),
            "algorithm.outer.lr": st.sampled_from([0.1, 0.2, None]),
            "dataset.shots": st.sampled_from([1, 5]),
            "device.threads": st.sampled_from([1, 2]),
        }
    ),
    min_size=1,
    max_size=12,
)


@given(drawn)
def test_every_run_is_in_one_row_or_left_out_for_a_newer(settings: list[dict[str, Any]]) -> None:
    runs = [run(one, folder=str(number), time=f"{number:03}") for number, one in enumerate(settings)]
    groups, left_out = grouped(runs, [], None)
    rows = [one.runs for group in groups for one in group.configurations]
    shown = [one.folder for row in rows for one in row]
    assert sorted([*shown, *(older.folder for older, _ in left_out)]) == sorted(one.folder for one in runs)
    for row in rows:
        assert len({one.seed for one in row}) == len(row)
        first, *others = ({key: value for key, value in one.settings.items() if key != "seed"} for one in row)
        assert all({**other, "device.threads": 0} == {**first, "device.threads": 0} for other in others)
    for older, newer in left_out:
        assert older.settings == newer.settings
        assert older.time < newer.time
        assert newer.folder in shown
