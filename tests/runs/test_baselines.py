"""Whether a meta-learner beats trivial baselines, against SciPy's paired t-test."""

from typing import Any

import pytest
import torch
from scipy.stats import ttest_rel
from torch import Tensor

from metarun.core.kinds import Classification, Regression
from metarun.engine.evaluation import EvaluationResult
from metarun.runs.baselines import compared, line, scalars, warning


def normal(seed: int, mean: float, spread: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return mean + spread * torch.randn(40, generator=generator, dtype=torch.float64)


def result(found: dict[str, Any], test: EvaluationResult) -> dict[str, Any]:
    return {"baselines": found, "meta_test": {"metrics": test.summary()}}


def regression(mse: Tensor, **baselines: Tensor) -> EvaluationResult:
    return EvaluationResult({"mse": mse[:, None]}, baselines=baselines)


@pytest.mark.parametrize(("mean", "beaten"), [(2.0, True), (4.5, False), (7.0, False)])
def test_the_advantage_is_over_the_best_paired_by_episode(mean: float, beaten: bool) -> None:
    hardness = normal(0, 0, 3)
    mse, ridge = hardness + normal(1, mean), hardness + normal(2, 4.5)
    test = regression(mse, support_mean=hardness + normal(3, 6), ridge=ridge)
    found = compared(Regression(), test)
    assert (found["metric"], found["best"], found["beaten"]) == ("mse", "ridge", beaten)
    assert found["methods"]["ridge"]["mean"] == ridge.mean().item()
    assert found["advantage"]["mean"] == pytest.approx((ridge - mse).mean().item())
    assert found["advantage"]["p"] == pytest.approx(ttest_rel(ridge, mse).pvalue, abs=1e-9)
    told = warning(result(found, test))
    assert (told is None) is beaten
    if told is not None:
        assert ("no significant difference" if mean == 4.5 else "significantly worse") in told


def test_more_is_better_of_accuracy() -> None:
    accuracy = normal(1, 0.5, 0.05)
    test = EvaluationResult(
        {"accuracy": accuracy[:, None]},
        baselines={"nearest_centroid": normal(2, 0.6, 0.05), "majority_class": normal(3, 0.2, 0.01)},
    )
    found = compared(Classification(5), test)
    assert found["best"] == "nearest_centroid"
    assert found["advantage"]["mean"] < 0
    assert not found["beaten"]
    told = warning(result(found, test))
    assert told is not None
    assert told.startswith("the meta-learner does not beat the baseline nearest centroid: accuracy 0.")
    assert told.endswith(" on the same episodes (significantly worse, paired t-test: p < 0.001)")
    assert "\n" not in told
    assert line(found).startswith("nearest centroid 0.")
    assert line(found).endswith("(accuracy on the same episodes)")
    assert scalars(found)["baselines/majority class accuracy meta-test"] == pytest.approx(0.2, abs=0.01)


def test_visits_to_one_task_do_not_narrow_the_interval() -> None:
    """Forty visits to two tasks: an advantage that would be significant over forty tasks is not."""
    task = torch.arange(40) % 2
    mse, ridge = normal(1, 1.0, 0.01), normal(2, 2.0, 0.01) + 0.8 * task
    alone = compared(Regression(), regression(mse, ridge=ridge))
    clustered = compared(
        Regression(), EvaluationResult({"mse": mse[:, None]}, sources=task, baselines={"ridge": ridge})
    )
    assert alone["beaten"]
    assert not clustered["beaten"]
    assert clustered["advantage"]["p"] > 0.05


def test_single_task_and_non_finite_values_have_no_test() -> None:
    single = EvaluationResult({"mse": torch.tensor([[1.0]])}, baselines={"ridge": torch.tensor([2.0])})
    found = compared(Regression(), single)
    assert found["advantage"]["p"] is None
    assert "no test" in str(warning(result(found, single)))
    mse = normal(1, 1)
    mse[3] = torch.nan
    assert not compared(Regression(), regression(mse, ridge=normal(2, 9)))["beaten"]
    broken = compared(Regression(), regression(normal(1, 1), ridge=mse, support_mean=normal(3, 9)))
    assert broken["best"] == "support_mean"
