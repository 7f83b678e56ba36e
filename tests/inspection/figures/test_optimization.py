"""Pictures of a comparison of optimizers show its numbers."""

import numpy as np
import pytest

from metarun.hpo.scoring import CriticalDifference, Regrets
from metarun.inspection.figures.optimization import rank_figure, regret_figure


def regrets() -> Regrets:
    values = np.sort(np.random.default_rng(0).random((3, 8, 20)), axis=2)[:, :, ::-1]
    return Regrets(("a", "b_$x$", "c"), values.copy(), tuple(range(8)))


def test_curves_are_mean_regrets() -> None:
    figure = regret_figure(regrets(), "error")
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert list(lines) == ["a", "b_$x$", "c"]
    for place, line in enumerate(lines.values()):
        assert line.get_xdata().tolist() == list(range(1, 21))
        assert line.get_ydata() == pytest.approx(regrets().values[place].mean(0))
    assert axes.get_ylabel() == "normalized regret (error)"
    figure.canvas.draw()
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "5", "10", "20"]
    assert all("mathdefault" not in label.get_text() for label in axes.get_yticklabels())


def test_regrets_of_zero_are_drawn_at_the_floor() -> None:
    found = Regrets(("a", "b"), np.zeros((2, 4, 3)), (0, 1, 2, 3))
    (axes,) = regret_figure(found, "error").axes
    assert (axes.get_lines()[0].get_ydata() > 0).all()


def test_ranks_are_named_and_joined_within_the_difference() -> None:
    found = CriticalDifference({"a": 1.2, "b": 1.8, "c": 3.0}, 0.01, 0.9, 12)
    figure = rank_figure(found, 10)
    (axes,) = figure.axes
    texts = {text.get_text().strip() for text in axes.texts}
    assert {"a (1.20)", "b (1.80)", "c (3.00)", "1", "2", "3", "critical difference 0.90"} <= texts
    assert axes.get_title() == "average rank after 10 trials, 12 groups of tasks"
    bars = [
        path.vertices[:, 0] for each in axes.collections for path in each.get_paths() if each.get_linewidth()[0] == 3
    ]
    assert [bar.tolist() for bar in bars] == [pytest.approx([1.16, 1.84])]
    figure.canvas.draw()
