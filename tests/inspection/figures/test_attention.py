"""Figures show what they are given."""

import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

from metarun.inspection.attention import Attended
from metarun.inspection.figures.attention import MOST_LABELED, attention_figure, queries_figure
from metarun.inspection.task_embeddings import TaskEmbeddings


def task_embeddings(labels: Tensor, mask: Tensor | None, heads: int = 2) -> TaskEmbeddings:
    """Of tasks with these support labels ``[T, s, ...]``; an example's weight says where it stands."""
    tasks, examples = labels.shape[:2]
    weights = torch.arange(1.0, examples + 1).expand(tasks, heads, examples) / 100
    return TaskEmbeddings(
        embeddings=torch.zeros(tasks, 3),
        norms={},
        attention=weights if mask is None else weights * mask[:, None],
        labels=labels,
        mask=mask,
        facts={"family": [f"of task {number}" for number in range(tasks)]},
    )


def drawn(figure: Figure) -> list[tuple[list[float], list[str]]]:
    """The first head's weights, in hundredths, and the labels below them, for each task."""
    return [
        (
            [round(100 * weight, 3) for weight in axes.images[0].get_array()[0].tolist()],
            [tick.get_text() for tick in axes.get_xticklabels()],
        )
        for axes in figure.axes
        if axes.get_title("left")
    ]


def test_support_examples_stand_in_the_order_of_their_labels() -> None:
    figure = attention_figure(task_embeddings(torch.tensor([[[3.0], [1.0], [2.0]], [[0.5], [0.25], [-1.0]]]), None))
    assert drawn(figure) == [([2, 3, 1], ["1", "2", "3"]), ([3, 2, 1], ["-1", "0.25", "0.5"])]
    assert drawn(attention_figure(task_embeddings(torch.tensor([[2, 0, 1]]), None))) == [([2, 3, 1], ["0", "1", "2"])]


@pytest.mark.parametrize("dimensions", [(), (1,)])
def test_padding_is_not_shown(dimensions: tuple[int, ...]) -> None:
    labels = torch.tensor([[2.0, -1.0, 1.0, 0.0], [3.0, 2.0, 0.0, 0.0], [4.0, 3.0, 2.0, 1.0]])
    mask = torch.tensor([[1.0, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]])
    assert drawn(attention_figure(task_embeddings(labels.view(3, 4, *dimensions), mask))) == [
        ([2, 3, 1], ["-1", "1", "2"]),
        ([2, 1], ["2", "3"]),
        ([4, 3, 2, 1], ["1", "2", "3", "4"]),
    ]


def test_tasks_with_few_examples_are_labeled() -> None:
    most = MOST_LABELED + 1
    mask = torch.ones(2, most)
    mask[1, 1:] = 0
    shown = drawn(attention_figure(task_embeddings(torch.arange(most).repeat(2, 1), mask)))
    assert [labels for _, labels in shown] == [[], ["0"]]


def test_attention_figure_marks_correct_predictions() -> None:
    weights = torch.tensor([[0.5, 0.25, 0.25], [0.0, 0.25, 0.75], [0.125, 0.125, 0.75]])
    support, query = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])
    figure = queries_figure([Attended(weights, support, query, torch.tensor([True, False, True]), "a, b")])
    axes = figure.axes[0]
    assert axes.images[0].get_array().tolist() == weights.tolist()
    assert axes.get_title("left") == "task 0: a, b\n2 of 3 right"
    ticks = [
        (axis.get_ticklocs().tolist(), [tick.get_text() for tick in axis.get_ticklabels()])
        for axis in (axes.xaxis, axes.yaxis)
    ]
    assert ticks == [([0.5, 2], ["0", "1"]), ([0, 1.5], ["0", "1"])]
    marks = {line.get_marker(): line.get_ydata().tolist() for line in axes.lines if line.get_marker() in (".", "x")}
    assert marks == {".": [0, 2], "x": [1]}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("right", [True, False])
def test_queries_that_are_all_right_or_all_wrong_leave_room_for_the_weights(right: bool) -> None:
    """The empty line of the other kind had its place at the figure's corner, so there was none left."""
    labels, told = torch.tensor([0, 1]), torch.tensor([right, right])
    figure = queries_figure([Attended(torch.ones(2, 2), labels, labels, told, "")] * 4)
    figure.draw_without_rendering()
    assert all(axes.get_position().width > 0.1 for axes in figure.axes[:4])


@pytest.mark.parametrize("examples", [3, MOST_LABELED + 1])
def test_few_targets_are_labeled(examples: int) -> None:
    support = torch.arange(examples) / 4
    figure = queries_figure([Attended(torch.ones(2, examples), support, torch.tensor([-1.0, 2.5]), None, "")])
    axes = figure.axes[0]
    assert axes.get_title("left") == "task 0"
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["-1", "2.5"]
    assert len(axes.get_xticklabels()) == (3 if examples == 3 else 0)
    assert not axes.lines
