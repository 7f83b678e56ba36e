"""The images of a few tasks, and predicted classes of their queries."""

from dataclasses import dataclass

from torch import Tensor

from metarun.core.inputs import image_and_others
from metarun.datasets.base import Dataset, class_names
from metarun.engine.evaluation import episodes_of
from metarun.inspection.predictions import predictions_before_and_after
from metarun.learner.learner import Learner, MetaParameters


@dataclass(frozen=True)
class ImagePredictions:
    """Of one task, on CPU, in the order of the labels and without rows that fill up.

    support, query: images ``[n, C, H, W]``; support_labels, query_labels: ``[n]``. guesses: the labels that the adapted
    model gives the queries, ``[q]``. names: what each label means, where the dataset names its classes; else its
    number.
    """

    support: Tensor
    support_labels: Tensor
    query: Tensor
    query_labels: Tensor
    guesses: Tensor
    names: tuple[str, ...]


def shows_images(learner: Learner) -> bool:
    """Whether its tasks are image classification."""
    inputs = learner.problem.inputs
    shown = [dict(inputs.parts)[name].shape[0] in (1, 3) for name in inputs.images]
    return shown == [True] and learner.problem.kind.by_class


def examples(
    learner: Learner, phi: MetaParameters, dataset: Dataset, stream: str, tasks: int, at_once: int
) -> list[ImagePredictions]:
    """The first ``tasks`` tasks of a stream, or all if there are fewer."""
    count = episodes_of(dataset, stream, tasks)
    batch = dataset.sample(stream, 0, count)
    support, query = batch.support, batch.query
    _, logits = predictions_before_and_after(learner, phi, batch, query.x, query.mask, at_once)
    named, image = class_names(dataset, stream), learner.problem.inputs.images[0]
    found = []
    for number in range(count):
        learned, asked = (
            _ordered(part.y[number], None if part.mask is None else part.mask[number]) for part in (support, query)
        )
        found.append(
            ImagePredictions(
                support=image_and_others(support.x, image)[0][number][learned].cpu(),
                support_labels=support.y[number][learned].cpu(),
                query=image_and_others(query.x, image)[0][number][asked].cpu(),
                query_labels=query.y[number][asked].cpu(),
                guesses=learner.model.kind.decision(logits[number][asked]).cpu(),
                names=_names(named, batch.classes[number], logits.shape[-1]),
            )
        )
    return found


def _ordered(labels: Tensor, mask: Tensor | None) -> Tensor:
    order = labels.argsort(stable=True)
    return order if mask is None else order[mask[order] > 0]


def _names(named: tuple[str, ...], classes: Tensor, ways: int) -> tuple[str, ...]:
    """What the labels of a task mean."""
    numbers = classes.tolist() or range(ways)
    return tuple(named[number] for number in numbers) if named else tuple(map(str, range(ways)))
