"""From settings and a loaded dataset to a learner, refusing what cannot go together."""

import torch

from metarun import counters
from metarun.config.settings import Settings
from metarun.datasets.base import Dataset
from metarun.errors import UserError
from metarun.learner import Learner, MetaParameters
from metarun.models.base import TaskModel


def compose(settings: Settings, dataset: Dataset, device: torch.device) -> tuple[Learner, MetaParameters]:
    """The learner and its first φ, which depends on the seed alone. Raises `UserError`."""
    _check(settings, dataset)
    kind, shape, dtype = dataset.kind("test"), dataset.input_shape, settings.device.dtype
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(counters.key(settings.seed, "first parameters"))
        network = settings.model.build(shape, kind.outputs if settings.algorithm.needs_head else None)
        theta = {name: parameter.detach() for name, parameter in network.named_parameters()}
        embedding = settings.embedding.build(shape, kind)
        hypernet = settings.hypernet.build(settings.embedding.size, theta)
        learner = Learner(
            model=TaskModel(network, kind, settings.model.normalisation, settings.engine.transductive),
            training_kind=dataset.kind("train"),
            embedding=embedding,
            hypernet=hypernet,
            algorithm=settings.algorithm,
        )
        modules = (network, embedding, hypernet)
        for module in modules:
            module.to(dtype)
        # What an algorithm sets to a number must be that number in the run's precision.
        phi = learner.initial()
    for module in modules:
        module.to(device)
    return learner, {
        group: {name: tensor.to(device, dtype, copy=True) for name, tensor in tensors.items()}
        for group, tensors in phi.items()
    }


def _check(settings: Settings, dataset: Dataset) -> None:
    choices, kind, training_kind = settings.plain["choices"], dataset.kind("test"), dataset.kind("train")
    if not isinstance(kind, settings.algorithm.kinds):
        able = " and ".join(each.__name__.lower() for each in settings.algorithm.kinds)
        raise UserError(
            f"algorithm={choices['algorithm']}: does {able} only, and dataset={choices['dataset']} is "
            f"{type(kind).__name__.lower()}; choose another algorithm, such as maml"
        )
    settings.algorithm.check(kind, training_kind)
    if settings.engine.transductive and settings.model.normalisation != "batch":
        raise UserError(
            f"engine.transductive=true: only model.normalisation=batch looks at other queries, and it is "
            f"{settings.model.normalisation}; set engine.transductive=false or model.normalisation=batch"
        )
    if settings.hypernet.needs_embedding and not settings.embedding.size:
        raise UserError(f"hypernet={choices['hypernet']}: needs a task embedding; add embedding=support")
    if settings.embedding.size and not settings.hypernet.needs_embedding:
        raise UserError(f"embedding={choices['embedding']}: nothing uses it; add hypernet=full, or set embedding=none")
    if settings.embedding.size and kind.outputs != training_kind.outputs:
        raise UserError(
            f"dataset.train_ways={training_kind.outputs}: embedding={choices['embedding']} reads labels, so training "
            f"needs as many ways as testing ({kind.outputs})"
        )
