"""Bayesian optimization step by step."""

import numpy as np
from histories import history, observed

from metarun.hpo.acquisition import expected_improvement
from metarun.hpo.history import Observed
from metarun.hpo.methods.bayesian import Bayesian
from metarun.hpo.methods.portfolio import Portfolio
from metarun.hpo.surrogates.base import Prediction

PAST = history()


class Known:
    """Predicts the losses as they are."""

    def predict(self, observed: Observed, random: np.random.Generator) -> Prediction:
        mean = PAST.losses[0]
        return Prediction(mean, np.full(len(mean), 0.01), float(observed.scored[1].min()))


def method(initial: int) -> Bayesian:
    return Bayesian(Known(), expected_improvement(0.0), Portfolio(PAST, 18), initial)


def test_the_first_trials_are_those_of_another_method() -> None:
    portfolio, tried, random = Portfolio(PAST, 18), [], np.random.default_rng(0)
    for _ in range(3):
        tried.append(method(3).propose(observed(PAST.losses[0], tried), random))
    assert tried == portfolio.order[:3].tolist()
    assert method(3).propose(observed(PAST.losses[0], tried), random) == int(
        min(set(range(18)) - set(tried), key=lambda place: PAST.losses[0][place])
    )


def test_failed_trials_do_not_count_and_are_not_repeated() -> None:
    losses = PAST.losses[0].copy()
    first = int(Portfolio(PAST, 18).order[0])
    losses[first] = np.nan
    found = method(1).propose(observed(losses, [first]), np.random.default_rng(0))
    assert found == int(Portfolio(PAST, 18).order[1])


def test_what_cannot_be_tried_is_not_proposed() -> None:
    best = int(PAST.losses[0].argmin())
    seen = observed(PAST.losses[0], [(best + 1) % 18])
    seen.available[best] = False
    assert method(1).propose(seen, np.random.default_rng(0)) != best
