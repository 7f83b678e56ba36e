"""Figures of single tasks show the predictions of the learner."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from builders import CONV, CPU, HYPERNET, MLP, Blobs, alone, build, moved, padded, settings, task_of, waves
from torch import Tensor

from metarun.core.tasks import Task, TaskBatch
from metarun.datasets.base import Seeds
from metarun.datasets.polynomials import Polynomials
from metarun.inspection.examples import examples, shows_images
from metarun.inspection.fits import POINTS, draws_functions, fits
from metarun.learner.learner import Learner, MetaParameters


def predicted(learner: Learner, phi: MetaParameters, task: Task, x: Tensor, *, adapted: bool) -> Tensor:
    """For inputs ``x``, by what the learner consists of."""
    params, start = phi["algorithm"], learner.start(phi, task, testing=True)
    draws = {name: value[0] for name, value in learner.draws(alone(task), True, 1.0).items()}
    state = learner.algorithm.initial_state(params, start)
    for number in range(learner.algorithm.steps(testing=True) if adapted else 0):
        state = learner.algorithm.step(learner.for_task(phi), params, state, task.support, number, draws)
    return learner.algorithm.predict(learner.for_task(phi), params, state, task.support, x, task.query.mask)


@pytest.mark.parametrize("extra", [(), HYPERNET, ("algorithm=reptile",)], ids=["maml", "hypernet", "reptile"])
def test_functions_before_and_after_adaptation(extra: tuple[str, ...]) -> None:
    dataset = waves()
    learner, phi = build(dataset, *MLP, *extra, inner_lr=0.05)
    phi = moved(phi)
    found = fits(learner, phi, dataset, "val", 3, at_once=2)
    batch = dataset.sample("val", 0, 3)
    amplitude, phase = dataset.truth("val", torch.arange(3))
    assert len(found) == 3
    for number, fit in enumerate(found):
        task = task_of(batch, number)
        every_x = torch.cat((task.support.x, task.query.x))
        assert len(fit.after[0]) == POINTS
        assert fit.after[0][[0, -1]].tolist() == pytest.approx([every_x.min().item(), every_x.max().item()])
        assert fit.before is not None
        for curve, adapted in ((fit.before, False), (fit.after, True)):
            wanted = predicted(learner, phi, task, curve[0][:, None], adapted=adapted)
            torch.testing.assert_close(curve[1], wanted.flatten().detach(), rtol=1e-9, atol=1e-9)
        assert fit.truth is not None
        x, y = fit.truth
        torch.testing.assert_close(y, amplitude[number] * torch.sin(x - phase[number]))
        assert fit.support[0].tolist() == sorted(task.support.x.flatten().tolist())
        assert sorted(fit.query[1].tolist()) == sorted(task.query.y.flatten().tolist())
        assert fit.told == f"amplitude {amplitude[number]:.3g}  phase {phase[number]:.3g}"


def test_the_truth_of_polynomials() -> None:
    config = settings("dataset=polynomials").dataset
    dataset = Polynomials(config, Seeds(0, 0), CPU, torch.float64)
    learner, phi = build(dataset, *MLP)
    for fit, coefficients in zip(fits(learner, phi, dataset, "test", 3, 3), config.polynomials, strict=False):
        assert fit.truth is not None
        x, y = fit.truth
        torch.testing.assert_close(y, sum(c * x**power for power, c in enumerate(reversed(coefficients))))


class Padded:
    """Tasks of another dataset with rows that fill up, and of which no truth is known."""

    def __init__(self, of: Any) -> None:
        self.of = of

    def __getattr__(self, name: str) -> Any:
        if name in ("values", "class_names"):
            raise AttributeError(name)
        return getattr(self.of, name)

    def sample(self, stream: str, index: int, tasks: int, group: int | None = None) -> TaskBatch:
        batch: TaskBatch = self.of.sample(stream, index, tasks, group)
        whole = [task_of(batch, number) for number in range(tasks)]
        filled = [(padded(task.support, 2), padded(task.query, 1)) for task in whole]
        support, query = (
            type(filled[0][0])(*(torch.stack(parts) for parts in zip(*(pair[at] for pair in filled), strict=True)))
            for at in (0, 1)
        )
        return batch._replace(support=support, query=query)


def test_padding_is_not_shown() -> None:
    learner, phi = build(waves(), *MLP)
    for fit, other in zip(
        fits(learner, phi, waves(), "test", 2, 2), fits(learner, phi, Padded(waves()), "test", 2, 2), strict=True
    ):
        for one, filled in ((fit.support, other.support), (fit.query, other.query), (fit.after, other.after)):
            torch.testing.assert_close(one, filled, rtol=1e-9, atol=1e-9)
        assert other.truth is None
    blobs = Blobs()
    learner, phi = build(blobs, *CONV)
    for shown, also in zip(
        examples(learner, phi, blobs, "test", 2, 2), examples(learner, phi, Padded(blobs), "test", 2, 2), strict=True
    ):
        assert shown.guesses.tolist() == also.guesses.tolist()
        torch.testing.assert_close(shown.query, also.query)
        torch.testing.assert_close(shown.support, also.support)


def test_a_transductive_learner_is_asked_the_tasks_own_queries() -> None:
    dataset = waves()
    learner, phi = build(dataset, *MLP)
    learner = replace(learner, model=replace(learner.model, transductive=True))
    fit = fits(learner, phi, dataset, "test", 1, 1)[0]
    assert fit.after[0].tolist() == fit.query[0].tolist()


def test_learner_without_steps_has_one_function() -> None:
    learner, phi = build(waves(), "algorithm=cnp", *MLP)
    assert all(fit.before is None for fit in fits(learner, phi, waves(), "test", 2, 2))


def test_images_with_predictions() -> None:
    dataset = Blobs(noise=2.0)
    learner, phi = build(dataset, *CONV, inner_steps=2)
    batch = dataset.sample("test", 0, 3)
    found = examples(learner, phi, dataset, "test", 3, at_once=2)
    assert len(found) == 3
    right = 0
    for number, shown in enumerate(found):
        task = task_of(batch, number)
        order = task.query.y.argsort(stable=True)
        wanted = predicted(learner, phi, task, task.query.x, adapted=True).argmax(-1)
        assert shown.guesses.tolist() == wanted[order].tolist()
        assert shown.query_labels.tolist() == sorted(task.query.y.tolist())
        torch.testing.assert_close(shown.query, task.query.x[order])
        assert shown.names == ("0", "1", "2")
        right += int((shown.guesses == shown.query_labels).sum())
    assert 0 < right < sum(len(shown.guesses) for shown in found), "else the order could not be told"


def test_labels_have_class_names() -> None:
    chosen = settings("model.channels=2", "model.layers=3", "dataset.queries=1", "device.precision=float64")
    dataset = chosen.dataset.load(0, CPU, torch.float64)
    learner, phi = build(dataset, "model.channels=2", "model.layers=3")
    told = dataset.facts("val", dataset.sample("val", 0, 2))["classes"]
    assert [", ".join(shown.names) for shown in examples(learner, phi, dataset, "val", 2, 2)] == told


def test_what_can_be_shown() -> None:
    for dataset, model, images in ((Blobs(), CONV, True), (waves(), MLP, False)):
        learner, _ = build(dataset, *model)
        assert shows_images(learner) is images
        assert draws_functions(learner) is not images
