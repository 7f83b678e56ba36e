"""Simulated optimization: what methods see, and what they do not."""

import numpy as np
import pytest
from histories import history

from metarun.hpo.acquisition import expected_improvement
from metarun.hpo.history import Observed
from metarun.hpo.methods.base import Method
from metarun.hpo.methods.bayesian import Bayesian
from metarun.hpo.methods.nearest import NearestTasks
from metarun.hpo.methods.portfolio import Portfolio
from metarun.hpo.methods.random import RandomSearch
from metarun.hpo.registry import BASELINES, methods
from metarun.hpo.settings import HpoSettings
from metarun.hpo.simulation import simulate
from metarun.hpo.surrogates.gaussian_process import GaussianProcess

PAST, NEW = history(5), history(1, seed=9)
LOSSES, FEATURES = NEW.losses[0], NEW.features[0]
ALL = np.ones(18, np.bool_)
SETTINGS = HpoSettings(
    methods=list(BASELINES),
    acquisition="expected_improvement",
    xi=0.01,
    beta=2.0,
    trials=8,
    seeds=1,
    initial=3,
    report=[8],
    source_points=18,
    ensemble=[],
)


@pytest.fixture(scope="module")
def baselines() -> dict[str, Method]:
    return methods(SETTINGS, PAST, {})


@pytest.mark.parametrize("name", BASELINES)
def test_no_configuration_is_tried_twice_and_runs_repeat(baselines: dict[str, Method], name: str) -> None:
    tried = simulate(baselines[name], LOSSES, ALL, FEATURES, 8, 0, "task").tolist()
    assert len(set(tried)) == len(tried) == 8
    assert simulate(methods(SETTINGS, PAST, {})[name], LOSSES, ALL, FEATURES, 8, 0, "task").tolist() == tried


@pytest.mark.parametrize("name", BASELINES)
def test_losses_that_were_not_observed_have_no_effect(baselines: dict[str, Method], name: str) -> None:
    tried = simulate(baselines[name], LOSSES, ALL, FEATURES, 5, 0, "task")
    other = np.random.default_rng(3).random(18)
    other[tried[:4]] = LOSSES[tried[:4]]
    assert simulate(baselines[name], other, ALL, FEATURES, 5, 0, "task").tolist() == tried.tolist()


def test_seeds_and_tasks_have_random_numbers_of_their_own() -> None:
    method = RandomSearch()
    found = [simulate(method, LOSSES, ALL, FEATURES, 8, seed, task).tolist() for seed in (0, 1) for task in "ab"]
    assert len({tuple(each) for each in found}) == 4


def test_failures_cost_a_trial_and_gaps_are_never_tried(baselines: dict[str, Method]) -> None:
    losses, available = LOSSES.copy(), ALL.copy()
    losses[:6] = np.nan
    available[[3, 17]] = False
    for method in baselines.values():
        tried = simulate(method, losses, available, FEATURES, 99, 0, "task").tolist()
        assert sorted(tried) == [place for place in range(18) if place not in (3, 17)]


def test_a_method_that_repeats_itself_is_an_error() -> None:
    class Stubborn:
        def propose(self, observed: Observed, random: np.random.Generator) -> int:
            return 4

    with pytest.raises(ValueError, match="configuration 4 of task t was tried before"):
        simulate(Stubborn(), LOSSES, ALL, FEATURES, 2, 0, "t")


def test_names_mean_the_methods(baselines: dict[str, Method]) -> None:
    assert isinstance(baselines["portfolio"], Portfolio)
    assert isinstance(baselines["nearest"], NearestTasks)
    warm = Bayesian(GaussianProcess(PAST.x), expected_improvement(0.01), Portfolio(PAST, 8), 3)
    cold = Bayesian(GaussianProcess(PAST.x), expected_improvement(0.01), RandomSearch(), 3)
    for name, method in {"gp_warm": warm, "gp": cold}.items():
        expected = simulate(method, LOSSES, ALL, FEATURES, 6, 0, "task").tolist()
        assert simulate(baselines[name], LOSSES, ALL, FEATURES, 6, 0, "task").tolist() == expected


def test_past_tasks_help() -> None:
    """On the new task the methods that know past tasks find a good configuration sooner than random search."""
    chosen = methods(SETTINGS, PAST, {})
    reached = {
        name: np.mean([LOSSES[simulate(chosen[name], LOSSES, ALL, FEATURES, 4, seed, "t")].min() for seed in range(20)])
        for name in ("random", "portfolio", "rgpe", "tst_r")
    }
    assert max(reached[name] for name in ("portfolio", "rgpe", "tst_r")) < reached["random"]
