"""Pictures of runs: which there are, that they are drawn whatever the settings are called, and what they show."""

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from run_folders import config, result
from torch.utils.tensorboard import SummaryWriter

from metarun.report import curve_figures
from metarun.report.curve_figures import MOST_LINES
from metarun.report.figures import draw, write
from metarun.report.grouping import Group, grouped
from metarun.report.runs import Run, flat
from metarun.report.value_axis import Axis
from metarun.runs.texts import plain_texts


def run(overrides: dict[str, Any], val: float = 0.8, folder: Path = Path("run"), metric: str = "accuracy") -> Run:
    outcome = result(val - 0.01, val, metric=metric, adaptation=[0.2, val / 2, val - 0.01])
    return Run(folder, flat(config(overrides)), "done", "", "", outcome)


def only(*runs: Run) -> Group:
    (group,), _ = grouped(runs, [], None)
    return group


def drawn(group: Group) -> dict[str, Figure]:
    with plain_texts():
        return {name: figure for _, _, name, figure in draw([group])}


def logged(folder: Path, values: dict[str, list[float]]) -> Path:
    with SummaryWriter(str(folder)) as writer:
        for tag, curve in values.items():
            for step, value in enumerate(curve, 1):
                writer.add_scalar(tag, value, 10 * step)
    return folder


def test_learning_curves_are_means_over_seeds_with_their_intervals(tmp_path: Path) -> None:
    curves = [[0.2, 0.4], [0.4, 0.8, 0.9]]  # the second seed went on for longer
    runs = [
        run(
            {"seed": seed},
            folder=logged(tmp_path / str(seed), {"meta-val/accuracy": curve, "meta-train/accuracy": curve}),
        )
        for seed, curve in enumerate(curves)
    ]
    left, right = drawn(only(*runs))["learning"].axes
    for axes in (left, right):
        (line,) = axes.lines
        assert list(line.get_xdata()) == [10, 20]
        assert line.get_ydata() == pytest.approx([0.3, 0.6])
        (band,) = axes.collections
        assert band.get_paths()[0].vertices[:, 1].max() == pytest.approx(0.6 + 12.7062 * 0.2, rel=1e-5)


def test_long_curves_of_meta_training_are_averaged_in_equal_windows() -> None:
    curve = {step: float(step) for step in range(1, 301)}
    steps, mean, half = curve_figures._over_seeds([curve], 30)
    assert steps == list(range(10, 301, 10))
    assert mean[0] == 5.5
    assert not any(half)


def test_which_pictures_there_are() -> None:
    assert set(drawn(only(run({})))) == {"adaptation"}
    assert set(drawn(only(run({}), run({"algorithm": "anil"})))) == {"adaptation", "hyperparameters"}
    both = only(run({}), run({"algorithm": "anil", "model.channels": 8}), run({"model.channels": 8}))
    assert set(drawn(both)) == {"adaptation", "hyperparameters", "parallel"}


def test_adaptation_curves_stand_together_with_their_intervals() -> None:
    figure = drawn(only(run({}, 0.8), run({"algorithm": "anil"}, 0.9)))["adaptation"]
    (axes,) = figure.axes
    assert [line.get_ydata()[-1] for line in axes.lines] == pytest.approx([0.89, 0.79])
    assert len(axes.collections) == 2
    assert [text.get_text() for text in figure.legends[0].texts] == ["anil", "maml"]


def test_only_the_best_configurations_have_curves() -> None:
    many = [run({"algorithm.outer.lr": 0.001 * n}, 0.5 + n / 100) for n in range(1, 31)]
    (group,), _ = grouped(many, [], "lr")
    figure = drawn(group)["adaptation"]
    assert len(figure.axes[0].lines) == MOST_LINES
    assert min(line.get_ydata()[-1] for line in figure.axes[0].lines) == pytest.approx(0.5 + 21 / 100 - 0.01)
    title = figure.get_suptitle()
    assert f"the {MOST_LINES} best by validation of 30" in title


@pytest.mark.parametrize(
    ("values", "texts", "places"),
    [
        ([0.1, 0.01, 0.001], ["0.001", "0.01", "0.1"], [0, 0.5, 1]),  # by logarithm
        ([1, 2, 5], ["1", "2", "5"], [0, 0.25, 1]),  # by size
        ([0.01, 0, 0.0001], ["0", "0.0001", "0.01"], [0, 0.5, 1]),  # by neither
        ([None, 10, 2], ["2", "10", "null"], [0, 0.5, 1]),
        ([True, False, "x"], ["false", "true", "x"], [0, 0.5, 1]),
    ],
)
def test_axes_of_hyperparameters(values: list[Any], texts: list[str], places: list[float]) -> None:
    group = only(*(run({"algorithm.x": value}, 0.5 + n / 10) for n, value in enumerate(values)))
    axis = Axis(group, "algorithm.x")
    told = axis.marks()
    assert [text for _, text in told] == texts
    assert [place for place, _ in told] == pytest.approx(places)


def test_an_axis_of_many_values_has_round_marks() -> None:
    group = only(*(run({"algorithm.x": 1e-4 * 1.3**n}, 0.5 + n / 100) for n in range(30)))
    assert [text for _, text in Axis(group, "algorithm.x").marks()] == ["0.0001", "0.001", "0.01", "0.1"]


ODD = ["$x_1$", "$\\frac{$", "_hidden", "<b>&\"'", "a" * 300, "日本", "%s {} \\", ""]


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_settings_of_any_name_are_drawn(tmp_path: Path, kind: str) -> None:
    runs = [
        run({"algorithm": odd, "algorithm.inner_lr": n, "dataset": "../$a/b"}, 0.5 + n / 20)
        for n, odd in enumerate(ODD)
    ]
    again = [
        run({"algorithm": odd, "algorithm.inner_lr": 2.0 * n, "dataset": "../$a/b"}, 0.6) for n, odd in enumerate(ODD)
    ]
    files = write([only(*runs, *again)], tmp_path / "figures", kind)
    assert [file.name for file in files] == [
        f"1-a-b-{name}.{kind}" for name in ("adaptation", "hyperparameters", "parallel")
    ]
    assert sorted(files) == sorted((tmp_path / "figures").iterdir())


def test_the_same_runs_make_the_same_picture(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write([only(run({}), run({"algorithm": "anil"}))], tmp_path / name, "svg")
    files = sorted((tmp_path / "a").iterdir())
    assert files
    assert all(file.read_bytes() == (tmp_path / "b" / file.name).read_bytes() for file in files)


def test_errors_of_several_orders_of_magnitude_have_a_logarithmic_axis() -> None:
    runs = [run({"algorithm": name}, val, metric="mse") for name, val in (("a", 10.0), ("b", 0.1))]
    assert drawn(only(*runs))["hyperparameters"].axes[0].get_yscale() == "log"
    assert (
        drawn(only(*runs[:1], run({"algorithm": "c"}, 5.0, metric="mse")))["hyperparameters"].axes[0].get_yscale()
        == "linear"
    )
