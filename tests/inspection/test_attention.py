"""What is shown of attention in a few tasks."""

import torch
from builders import CONV, MLP, Blobs, build, moved, padded, task_of, waves
from torch.func import vmap

from metarun.core.tasks import TaskBatch
from metarun.engine.evaluation import Evaluator
from metarun.inspection.attention import TASKS, attended


class Filled(Blobs):
    """With rows behind support and queries that fill up, and the examples in no order of their labels."""

    def sample(self, stream: str, index: int, tasks: int, group: int | None = None) -> TaskBatch:
        drawn = super().sample(stream, index, tasks, group)
        order = torch.tensor([5, 0, 3, 1, 4, 2])
        support, query = (vmap(lambda part: padded(part.rows(order), 2))(part) for part in (drawn.support, drawn.query))
        return drawn._replace(support=support, query=query)

    def facts(self, stream: str, tasks: TaskBatch) -> dict[str, list[str]]:
        return {"number": [f"blob {int(number)}" for number in tasks.number]}


def test_examples_are_sorted_by_label_without_padding() -> None:
    learner, phi = build(Filled(noise=4), *CONV, "algorithm=matching", "model.normalization=none")
    plain, _ = build(Blobs(noise=4), *CONV, "algorithm=matching", "model.normalization=none")
    filled, bare = attended(learner, phi, Filled(noise=4), "test"), attended(plain, phi, Blobs(noise=4), "test")
    assert len(filled) == TASKS
    assert any(task.right is not None and task.right.tolist() != task.right.flip(0).tolist() for task in filled)
    for number, (one, other) in enumerate(zip(filled, bare, strict=True)):
        assert one.told == f"blob {number}"
        assert one.support.tolist() == one.query.tolist() == [0, 0, 1, 1, 2, 2]
        torch.testing.assert_close(one.weights.sum(1), torch.ones(6, dtype=torch.float64))
        guessed = one.weights.view(6, 3, 2).sum(-1).argmax(1)
        assert one.right is not None
        assert one.right.tolist() == (guessed == one.query).tolist()
        # Of a class the examples stand in another order: its share is the same.
        shares = [seen.weights.view(3, 2, 3, 2).sum(-1).sort(1).values for seen in (one, other)]
        torch.testing.assert_close(*shares, rtol=0, atol=1e-12)


def test_correct_predictions_match_the_accuracy() -> None:
    dataset = Blobs(noise=2)
    learner, phi = build(dataset, *CONV, "algorithm=transformer")
    phi = moved(phi, 0.2)
    accuracy = Evaluator(learner)(phi, dataset, "test", TASKS).final("accuracy")
    seen = attended(learner, phi, dataset, "test")
    assert [float(task.right.double().mean()) for task in seen if task.right is not None] == accuracy.tolist()
    assert 0 < accuracy.mean() < 1


def test_a_prediction_of_targets_is_neither_right_nor_wrong() -> None:
    learner, phi = build(waves(), *MLP, "algorithm=transformer")
    task, told = task_of(waves().sample("test", 0, TASKS), 1), attended(learner, phi, waves(), "test")[1]
    assert told.right is None
    assert told.weights.shape == (6, 5)
    assert told.support.tolist() == task.support.y[:, 0].sort().values.tolist()
    assert told.query.tolist() == task.query.y[:, 0].sort().values.tolist()
    assert told.told
