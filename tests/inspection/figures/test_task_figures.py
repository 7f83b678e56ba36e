"""Figures of single tasks, of confusions and of gradients show what they are given."""

import warnings

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from metarun.inspection.confusion import Confusion
from metarun.inspection.examples import ImagePredictions
from metarun.inspection.figures.confusion import confusion_figure
from metarun.inspection.figures.embeddings import embedding_figure
from metarun.inspection.figures.examples import MOST_QUERIES, RIGHT, WRONG, examples_figure
from metarun.inspection.figures.fits import fits_figure
from metarun.inspection.figures.gradients import cosine_figure, projection_figure
from metarun.inspection.figures.names import abbreviate
from metarun.inspection.fits import Fit
from metarun.inspection.task_embeddings import TaskEmbeddings


def examples(guesses: list[int], labels: list[int], channels: int = 1, shade: float = 0.5) -> ImagePredictions:
    images = torch.full((len(labels), channels, 28, 28), shade)
    support = torch.tensor(sorted(set(labels)))
    return ImagePredictions(
        images[: len(support)], support, images, torch.tensor(labels), torch.tensor(guesses), ("α", "β")
    )


def paper(figure: Figure) -> NDArray[np.uint8]:
    drawn: NDArray[np.uint8] = np.asarray(figure.axes[0].images[0].get_array())
    return drawn


def frames(figure: Figure, color: tuple[int, int, int]) -> float:
    """How many queries are framed in a color."""
    of_one_frame = 32 * 32 - 28 * 28
    found: float = (paper(figure) == color).all(-1).sum() / of_one_frame
    return found


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize("channels", [1, 3])
def test_queries_are_framed_by_whether_they_are_right(channels: int) -> None:
    figure = examples_figure([examples([0, 0, 1, 1, 1], [0, 0, 0, 1, 1], channels)] * 2, "meta-test")
    assert (frames(figure, RIGHT), frames(figure, WRONG)) == (8, 2)
    task = ["α", "β", "β"]  # the classes' names, and what was guessed
    assert texts(figure)[:-1] == [*task, "task 0: 4 of 5 right", *task, "task 1: 4 of 5 right"]


def test_tasks_do_not_overlap() -> None:
    tasks = [examples([0, 0, 1], [0, 0, 1], shade=number / 8) for number in range(5)]
    figure = examples_figure(tasks, "meta-val")
    drawn, titles = paper(figure), figure.axes[0].texts[2::3]
    middles = []
    for number, title in enumerate(titles):
        assert title.get_text() == f"task {number}: 3 of 3 right"
        pixels = np.argwhere((drawn == round(255 * number / 8)).all(-1))
        assert len(pixels) == 5 * 28 * 28, "two of support and three queries"
        (top, left), (x, y) = pixels.min(0), title.get_position()
        assert top - 20 < y < top
        assert abs(left - x) <= 2
        middles.append(tuple(pixels.mean(0)))
    across, down = {left for _, left in middles}, {top for top, _ in middles}
    assert (len(across), len(down)) == (2, 3)


def test_images_need_not_be_square() -> None:
    wide = ImagePredictions(
        *(torch.zeros(1, 1, 14, 42), torch.tensor([0]), torch.ones(1, 1, 14, 42), torch.tensor([0])),
        torch.tensor([0]),
        ("α",),
    )
    figure = examples_figure([wide], "meta-val")
    assert (paper(figure) == 0).all(-1).sum() == 14 * 42
    across, down = figure.get_size_inches()
    assert across / down == pytest.approx(paper(figure).shape[1] / paper(figure).shape[0])


def test_of_many_queries_the_first_are_drawn() -> None:
    figure = examples_figure([examples([0] * 30, [0] * 30)], "meta-val")
    assert frames(figure, RIGHT) == MOST_QUERIES
    assert "task 0: 30 of 30 right" in texts(figure)


@pytest.mark.parametrize("form", ["examples", "cosines", "projection"])
def test_what_is_placed_by_hand_lies_within_the_figure(form: str) -> None:
    names = ("Alphabet_of_the_Magi/character01", "Sundanese (of the north)/character17")
    torch.manual_seed(0)
    figure = {
        "examples": lambda: examples_figure(
            [ImagePredictions(*(torch.rand(2, 1, 28, 28), torch.arange(2)) * 2, torch.arange(2), names)] * 3, "meta-val"
        ),
        "cosines": lambda: cosine_figure(-torch.rand(20, 20), 123_456),
        "projection": lambda: projection_figure([torch.randn(8, 5) for _ in range(3)], [10, 20, 100_000]),
    }[form]()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    for axes in figure.axes:
        box = axes.get_tightbbox(canvas.get_renderer())
        assert box is not None
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert 0 <= box.y0 < box.y1 <= figure.bbox.y1


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Greek", "Greek"),
        ("Alphabet_of_the_Magi/character01", "…character01"),
        ("one two three four", "one two…"),
        ("", ""),
    ],
)
def test_names_are_abbreviated(name: str, told: str) -> None:
    assert abbreviate(name, 12) == told


def fit(*, before: bool, truth: bool) -> Fit:
    line = (torch.arange(3.0), torch.arange(3.0))
    return Fit(line, line, line if before else None, line, line if truth else None, "slope 1")


@pytest.mark.parametrize(
    ("before", "truth", "told"),
    [
        (True, True, ["true", "before adaptation", "after", "queries", "support"]),
        (False, True, ["true", "predicted", "queries", "support"]),
        (True, False, ["before adaptation", "after", "queries", "support"]),
    ],
)
def test_legend_lists_what_is_drawn(before: bool, truth: bool, told: list[str]) -> None:
    figure = fits_figure([fit(before=before, truth=truth)] * 3, "meta-test")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == told
    drawn = [axes for axes in figure.axes if axes.lines]
    assert [len(axes.lines) for axes in drawn] == [len(told)] * 3
    assert drawn[2].get_title("left") == "task 2: slope 1"


def test_fractions_are_of_possible_confusions() -> None:
    taken = torch.tensor([[6, 3, 0], [0, 9, 1], [0, 0, 0]])
    asked = torch.tensor([[10, 4, 0], [5, 10, 10], [0, 5, 5]])
    figure = confusion_figure(Confusion(taken, asked, ("a", "b", "c"), 7, 25), 1000)
    axes = figure.axes[0]
    written = {tuple(map(int, text.get_position())): (text.get_text(), text.get_color()) for text in axes.texts}
    assert written == {
        (0, 0): ("60", "tab:green"), (1, 0): ("75", "white"), (1, 1): ("90", "tab:green"), (2, 1): ("10", "black"),
    }  # fmt: skip
    shown = axes.images[0].get_array()
    assert np.ma.getmaskarray(np.ma.masked_invalid(shown)).tolist() == [
        [True, False, True],
        [False, True, False],
        [True, False, True],
    ]
    assert "the 3 most confused of 7 classes, 25 errors in all" in axes.get_title("left")


def test_cosines_are_written_out() -> None:
    figure = cosine_figure(torch.tensor([[1.0, -0.25], [-0.25, 1.0]]).double(), 200)
    assert [text.get_text() for text in figure.axes[0].texts] == ["1.00", "-0.25", "-0.25", "1.00"]
    assert figure.axes[0].get_title("left") == "step 200: mean -0.25"


def test_a_projection_is_of_directions() -> None:
    generator = torch.Generator().manual_seed(0)
    looks = [torch.randn(4, 9, generator=generator) for _ in range(3)]
    points = [
        projection_figure(gradients, (10, 20, 30)).axes[0].collections[0].get_offsets()
        for gradients in (looks, [looks[0] * 1000, looks[1], looks[2] * 0.01])
    ]
    assert points[0].shape == (12, 2)
    np.testing.assert_allclose(np.abs(points[0]), np.abs(points[1]), atol=1e-6)
    units = torch.cat([look / look.norm(dim=1, keepdim=True) for look in looks]).double().numpy()
    centerd = units - units.mean(0)
    spread = np.sort(np.linalg.eigvalsh(centerd.T @ centerd))[::-1]
    np.testing.assert_allclose((np.asarray(points[0]) ** 2).sum(0), spread[:2], rtol=1e-5)


@pytest.mark.parametrize(("kinds", "legend"), [([0, 1, 1, 2], 3), ([0, 1, 2, 3], 0)])
def test_kinds_of_long_names_leave_room_for_the_points(kinds: list[int], legend: int) -> None:
    """A task of drawn characters is told by all of them, and of few tasks no two are of a kind."""
    names = [", ".join(f"Alphabet {kind}/character{number:02}" for number in range(5)) for kind in kinds]
    seen = TaskEmbeddings(torch.randn(4, 3), {}, None, torch.zeros(4, 1), None, {"classes": names})
    figure = embedding_figure(seen, torch.rand(4), "accuracy")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FigureCanvasAgg(figure).draw()
    told = [text.get_text() for place in figure.legends for text in place.get_texts()]
    assert len(told) == legend
    assert all(len(text) <= 24 for text in told)
