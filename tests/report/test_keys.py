"""Which keys vary, how they are called, and which one a user means."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_folders import config

from metarun.core.errors import UserError
from metarun.report import keys
from metarun.report.runs import Run, flat


def run(overrides: dict[str, Any] | None = None, status: str = "done") -> Run:
    return Run(Path("run"), flat(config(overrides)), status, "", "", {})


def test_only_varying_keys_are_shown_without_the_seed() -> None:
    runs = [run({"seed": 0}), run({"seed": 1, "algorithm.outer.lr": 0.01}), run({"seed": 2, "model.channels": 32})]
    assert keys.varying(runs) == ["model.channels", "algorithm.outer.lr"]
    assert keys.varying(runs[:1]) == []


def test_keys_that_follow_from_an_option_are_not_shown() -> None:
    anil = {"algorithm": "anil", "algorithm.inner_lr": 0.1, "algorithm.new": 3}
    assert keys.varying([run(), run(anil)]) == ["algorithm"]
    assert keys.varying([run(), run(anil), run({**anil, "algorithm.inner_lr": 0.2})]) == [
        "algorithm",
        "algorithm.inner_lr",
    ]


def test_keys_that_follow_from_several_options_are_not_shown() -> None:
    """As the outer step size of Reptile, which depends on the hypernetwork."""

    def followed(*overrides: dict[str, Any]) -> list[Run]:
        return [replace(run(each), followed=frozenset({"algorithm.outer.lr"})) for each in overrides]

    film = {"hypernet": "film", "algorithm.outer.lr": 0.001}
    runs = [*followed({}, film), run({"algorithm": "anil"}), run({"algorithm": "anil", "hypernet": "film"})]
    assert keys.varying(runs) == ["hypernet", "algorithm"]
    typed = run({"hypernet": "film", "algorithm.outer.lr": 0.002})
    assert keys.varying([*runs, typed]) == ["hypernet", "algorithm", "algorithm.outer.lr"]
    assert keys.varying(followed({}, {"algorithm.outer.lr": 0.5})) == ["algorithm.outer.lr"]  # of another version


def test_options_of_one_name_and_two_classes_are_not_the_same() -> None:
    own = {"algorithm._target_": "my_package.Mine"}
    assert keys.varying([run(), run({"algorithm": "anil", **own})]) == ["algorithm"]
    assert keys.varying([run(), run(own)]) == ["algorithm._target_"]


def test_one_is_one_point_zero_but_not_true() -> None:
    assert keys.varying([run({"algorithm.inner_lr": 1}), run({"algorithm.inner_lr": 1.0})]) == []
    assert keys.varying([run({"algorithm.inner_lr": 1}), run({"algorithm.inner_lr": True})]) == ["algorithm.inner_lr"]
    assert keys.varying([run({"seed": 2**60}), run({"algorithm.pool": 2**60 + 1, "algorithm.x": 2**60})])
    assert keys.fingerprint(2**60) != keys.fingerprint(2**60 + 1)


def test_key_missing_in_some_runs_varies() -> None:
    assert keys.varying([run(), run({"algorithm.new": 3})]) == ["algorithm.new"]


def test_machine_is_shown_only_if_one_seed_ran_on_several() -> None:
    resumed = [run({"seed": 0}), run({"seed": 1, "device.threads": 4})]
    assert keys.varying(resumed) == []
    assert keys.varying([*resumed, run({"seed": 0, "device.threads": 4})]) == ["device.threads"]
    assert keys.varying([run(), run({"seed": 1, "device": "cuda", "device.new": 3})]) == []
    assert keys.varying([run(), run({"seed": 1, "device.precision": "bfloat16"})]) == ["device.precision"]


def test_what_is_tracked_makes_no_other_run() -> None:
    less = run({"tracking.hparams": False})
    less.settings["tracking"] = "scalars"
    assert keys.varying([run(), run({"tracking.hparams": True}), less]) == []


def test_training_episodes_are_no_part_of_the_problem() -> None:
    def problem(overrides: dict[str, Any]) -> dict[str, Any]:
        return keys.of_the_problem(run(overrides))

    assert problem({}) == problem({"dataset.train_shots": 5, "dataset.download": True, "seed": 4})
    assert problem({"dataset.tasks": 10}) == problem({"dataset.tasks": 100})
    own = {"dataset._target_": "my_package.data.Mine"}
    assert problem({**own, "dataset.tasks": 10}) != problem({**own, "dataset.tasks": 100})
    for other in ({"dataset.shots": 5}, {"engine.transductive": True}, {"dataset": "omniglot"}):
        assert problem({}) != problem(other)


settings = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2),
        "algorithm": st.sampled_from(["maml", "anil"]),
        "algorithm.outer.lr": st.sampled_from([0.1, 0.2]),
        "device.threads": st.sampled_from([1, 2]),
        "model.channels": st.sampled_from([32, 64]),
    }
)


@given(st.lists(settings, min_size=1, max_size=8), st.data())
def test_fewer_runs_vary_in_fewer_keys(drawn: list[dict[str, Any]], data: st.DataObject) -> None:
    runs = [run(one) for one in drawn]
    some = data.draw(st.lists(st.sampled_from(runs), min_size=1, unique_by=id))
    assert set(keys.varying(some)) <= set(keys.varying(runs))


@given(st.lists(settings, min_size=2, max_size=8))
def test_varying_keys_identify_configurations(drawn: list[dict[str, Any]]) -> None:
    """Runs that are alike in what varies, and in their seed, are alike in everything."""
    runs = [run(one) for one in drawn]
    varying = [*keys.varying(runs), "seed"]
    seen: dict[tuple[str, ...], Run] = {}
    for one in runs:
        alike = seen.setdefault(tuple(keys.of(one, key) for key in varying), one)
        assert alike.settings == one.settings


def test_conditions_are_combined_with_and() -> None:
    runs = [run({"algorithm": name, "algorithm.outer.lr": lr}) for name in ("maml", "anil") for lr in (0.1, 0.001)]
    assert keys.filtered(runs, ["algorithm=anil", "lr=1e-1"]) == [runs[2]]
    assert keys.filtered(runs, ["algorithm=anil,maml", "algorithm.outer.lr=0.001"]) == [runs[1], runs[3]]
    assert keys.filtered(runs, []) == runs
    assert keys.filtered([*runs, run(status="failed")], ["status=done"]) == runs
    assert keys.filtered([run({"a": [1, 2]}), run()], ["a=[1,2]"])[0].settings["a"] == [1, 2]
    assert keys.filtered(runs, ["minibatch=null"]) == runs


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("algorithm", "KEY=VALUE is expected"),
        ("=maml", "KEY=VALUE is expected"),
        ("algoritm=maml", "did you mean algorithm"),
        ("algorithm=mamml", "(algorithm: maml)"),
        ("name=x", "may be device.name or algorithm.inner_optimizer.name"),
        ("zzzz=1", "(keys: algorithm, "),
    ],
)
def test_mistaken_conditions(condition: str, told: str) -> None:
    with pytest.raises(UserError) as error:
        keys.filtered([run()], [condition])
    assert told in str(error.value).replace("algorithm.inner_optimizer.name or device.name", told[7:])


def test_long_fractions_are_rounded_where_they_are_told() -> None:
    assert keys.told(run({"algorithm.outer.lr": 0.012345678901}), "algorithm.outer.lr") == "0.01235"
    assert keys.told(run({"algorithm.outer.lr": 0.00025}), "algorithm.outer.lr") == "0.00025"
    assert keys.told(run({"a": "x\ny\x1b[31m"}), "a") == "x y�[31m"
