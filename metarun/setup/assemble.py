"""Assembling a learner from settings and a loaded dataset, and refusing incompatible parts."""

from dataclasses import replace

import torch
from torch import nn

from metarun.algorithms.base import Learned
from metarun.config.groups import TESTS
from metarun.core import counters
from metarun.core.errors import UserError
from metarun.core.kinds import likelihoods
from metarun.datasets.base import Dataset, Problem, data_name, problem
from metarun.hypernets.base import Hypernet
from metarun.hypernets.memory import refuse_if_too_large
from metarun.learner.learner import Learner, MetaParameters
from metarun.models.base import Parameters, TaskModel
from metarun.models.normalization import Context
from metarun.runs import checkpoint
from metarun.runs.files import checkpoint_files
from metarun.setup.settings import Settings


def compose(settings: Settings, dataset: Dataset, device: torch.device) -> tuple[Learner, MetaParameters]:
    """The learner for a dataset's tasks and its first φ, as `assemble`.

    Where the settings name a checkpoint, it is the learner of that, built for the problem that it was trained for and
    tested on the dataset's tasks. Raises `UserError`, also for an order of training that the dataset does not support.
    """
    posed = problem(dataset, settings.likelihood)
    check_order(settings, len(dataset.groups))
    if settings.trains:
        return assemble(settings, posed, device)
    trained = trained_for(settings, posed)
    _check_transfer(settings, trained, posed, "dataset")
    return assembled(settings, trained.tested_on(posed), device)


def assemble(settings: Settings, problem: Problem, device: torch.device) -> tuple[Learner, MetaParameters]:
    """The learner for a problem and its first φ, which depends on the seed alone. Raises `UserError`."""
    _check_parts(settings, problem)
    _check_known_tasks(settings, problem)
    return assembled(settings, problem, device)


def trained_for(settings: Settings, posed: Problem) -> Problem:
    """What the learner is trained for: the problem ``posed`` by the run's dataset, or that of the checkpoint."""
    if settings.checkpoint is None:
        return posed
    return checkpoint.first_problem(checkpoint_files(settings.checkpoint))


def assembled(settings: Settings, problem: Problem, device: torch.device) -> tuple[Learner, MetaParameters]:
    """`assemble`, for parts that are known to go together."""
    kind, dtype, algorithm = problem.kind, settings.device.dtype, settings.algorithm
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(counters.key(settings.seed, "first parameters"))
        network = settings.model.build(
            problem.inputs, kind.outputs if algorithm.needs_head else None, algorithm.context_size
        )
        head = getattr(network, "head", None)
        if isinstance(head, nn.Linear):
            network.head = algorithm.last_layer(head)
        theta = {name: parameter.detach() for name, parameter in network.named_parameters()}
        algorithm_network = algorithm.network(_width(network, problem, settings.plain["choices"]["model"]), problem)
        model = TaskModel(
            network,
            kind,
            settings.model.normalization,
            settings.engine.transductive,
            algorithm_network,
            settings.device.compute,
        )
        embedding = settings.embedding.build(problem, model)
        hypernet = _hypernet(settings, theta, device)
        learner = Learner(
            problem=problem,
            model=model,
            embedding=embedding,
            hypernet=hypernet,
            algorithm=algorithm,
            penalties=settings.regularizer,
            seed=settings.seed,
        )
        modules = (network, algorithm_network, embedding, hypernet)
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


def _width(network: nn.Module, problem: Problem, option: str) -> int:
    """How many numbers a network makes of an example. Raises `UserError` where a user's own makes something else."""
    with torch.no_grad():
        out = network(problem.inputs.zeros(2), Context())
    if not isinstance(out, torch.Tensor) or out.dim() != 2 or len(out) != 2:
        told = list(out.shape) if isinstance(out, torch.Tensor) else f"a {type(out).__name__}"
        kind = type(network)
        raise UserError(
            f"model={option}: {kind.__module__}.{kind.__qualname__}.forward returns {told} for 2 inputs, where "
            "[2, outputs] is expected"
        )
    return int(out.shape[1])


def _hypernet(settings: Settings, theta: Parameters, device: torch.device) -> Hypernet:
    """The hypernetwork, unless it could not be trained in the memory there is."""
    if settings.trains:
        asked = settings.engine.task_chunk
        tasks = asked if isinstance(asked, int) else 1  # as few as it takes to fit
        option = settings.plain["choices"]["hypernet"]
        refuse_if_too_large(
            settings.hypernet, option, settings.embedding.size, theta, tasks, settings.device.dtype, device
        )
    hypernet = settings.hypernet.build(settings.embedding.size, theta)
    hypernet.draw(settings.seed)
    return hypernet


def check(settings: Settings, problem: Problem) -> None:
    """Refuse parts that cannot go together, or not on this problem; where the settings name a checkpoint, a problem
    that its learner cannot take. Raises `UserError`.
    """
    if settings.trains:
        _check_parts(settings, problem)
        _check_known_tasks(settings, problem)
    else:
        _check_transfer(settings, trained_for(settings, problem), problem, "dataset")


def check_test(settings: Settings, trained: Problem, posed: Problem, name: str) -> None:
    """Refuse the problem of ``test_dataset.NAME`` if a learner for ``trained``, the problem of the run, cannot take it.

    Raises `UserError`.
    """
    _check_transfer(settings, trained_for(settings, trained), posed, f"{TESTS}.{name}")


def _check_parts(settings: Settings, problem: Problem) -> None:
    choices, kind, training_kind = settings.plain["choices"], problem.kind, problem.training_kind
    if kind.likelihood != settings.likelihood:
        possible = likelihoods(kind)
        raise UserError(
            f"likelihood={settings.likelihood}: the tasks are {kind.name}, which takes {' or '.join(possible)}"
        )
    if not isinstance(kind, settings.algorithm.kinds):
        able = " and ".join(each.name for each in settings.algorithm.kinds)
        raise UserError(
            f"algorithm={choices['algorithm']}: does {able} only{settings.algorithm.because}, and "
            f"dataset={choices['dataset']} is {kind.name}; choose another, such as algorithm=maml"
        )
    settings.algorithm.check(problem)
    check_settings(settings)
    if settings.embedding.reads_labels and kind.outputs != training_kind.outputs:
        raise UserError(
            f"dataset.train_ways={training_kind.outputs}: embedding={choices['embedding']} reads labels, so training "
            f"needs as many ways as testing ({kind.outputs}); set dataset.train_ways=null"
        )


def _check_known_tasks(settings: Settings, problem: Problem) -> None:
    """Refuse to learn an embedding of each training task where none comes again."""
    if not settings.trains or not settings.embedding.knows_tasks or problem.known_tasks:
        return
    choices = settings.plain["choices"]
    more = (
        "set dataset.tasks=100, or use embedding=support"
        if "tasks" in settings.plain["dataset"]
        else "use embedding=support, or recurring tasks, such as dataset=sinusoid dataset.tasks=100"
    )
    raise UserError(
        f"embedding={choices['embedding']}: needs recurring meta-training tasks, but "
        f"dataset={choices['dataset']} always samples new ones; {more}"
    )


def check_settings(settings: Settings) -> None:
    """Refuse parts that cannot go together whatever the data. Raises `UserError`."""
    choices = settings.plain["choices"]
    if settings.engine.transductive and settings.model.normalization != "batch":
        raise UserError(
            f"engine.transductive=true: only model.normalization=batch looks at other queries, and it is "
            f"{settings.model.normalization}; set model.normalization=batch or engine.transductive=false"
        )
    if settings.model.normalization == "global":
        _check_global(settings)
    if settings.hypernet.needs_embedding and not settings.embedding.size:
        raise UserError(f"hypernet={choices['hypernet']}: needs a task embedding; add embedding=support")
    if settings.embedding.size and not settings.hypernet.needs_embedding:
        raise UserError(
            f"embedding={choices['embedding']}: nothing uses it; add a hypernetwork, such as hypernet=film, or set "
            "embedding=none"
        )
    if settings.trains:
        _check_penalties(settings)
        if settings.engine.train_tasks is not None and not isinstance(settings.algorithm, Learned):
            raise UserError(
                f"engine.train_tasks={settings.engine.train_tasks}: algorithm={choices['algorithm']} has no "
                "meta-training; set engine.train_tasks=null, or choose a meta-learner such as algorithm=maml"
            )
        if settings.engine.profile_steps and not isinstance(settings.algorithm, Learned):
            raise UserError(
                f"engine.profile_steps={settings.engine.profile_steps}: algorithm={choices['algorithm']} has no "
                "meta-updates that could be profiled; set engine.profile_steps=0, or choose a meta-learner such as "
                "algorithm=maml"
            )


def _check_global(settings: Settings) -> None:
    """Refuse statistics over all of meta-training where there would be none, or none that inner steps had seen."""
    chosen = f"model.normalization=global: algorithm={settings.plain['choices']['algorithm']}"
    if not isinstance(settings.algorithm, Learned):
        raise UserError(f"{chosen} has no meta-training, hence no statistics; use model.normalization=batch")
    if settings.algorithm.steps(testing=False):
        raise UserError(
            f"{chosen} has inner steps in meta-training, with statistics that a test task would not have; use "
            "model.normalization=batch, running or group"
        )


def _check_transfer(settings: Settings, trained: Problem, posed: Problem, place: str) -> None:
    """Refuse to test on tasks that the trained learner cannot take. place: of the dataset's keys."""
    now, then = posed.kind, trained.kind
    where = f"dataset={settings.plain['choices']['dataset']}" if place == "dataset" else place
    whose = "the run trains on" if settings.trains else "the checkpoint was trained on"
    keys = settings.dataset if place == "dataset" else settings.test_dataset[place.partition(".")[2]]
    if now.by_class != then.by_class:
        raise UserError(
            f"{where}: its tasks are {now.name}, and {whose} {then.name} "
            f"({data_name(trained.source)}); choose a dataset of that kind"
        )
    if now.likelihood != then.likelihood:
        raise UserError(
            f"likelihood={now.likelihood}: {whose} likelihood={then.likelihood} ({data_name(trained.source)}), which "
            "decides what its model predicts; leave it out"
        )
    if now.outputs != then.outputs and (settings.algorithm.needs_head or settings.embedding.reads_labels):
        hint = f"set {place}.ways={then.targets}" if hasattr(keys, "ways") else "test on such tasks"
        raise UserError(
            f"{where}: its tasks have {now.targets} {now.noun}, and {whose} tasks of {then.targets} "
            f"({data_name(trained.source)}); {hint}"
        )
    if settings.embedding.knows_tasks and posed.known_tasks not in (0, trained.known_tasks):
        raise UserError(
            f"{where}: has {posed.known_tasks:,} known tasks, and {whose} {trained.known_tasks:,} "
            f"({data_name(trained.source)}), of which it has embeddings; use the dataset that is trained on"
        )
    # What only concerns the meta-training of that dataset does not matter here.
    _check_parts(settings, replace(posed, training_kind=now))


def _check_penalties(settings: Settings) -> None:
    """Refuse a term of Ω that would always be zero."""
    weights, choices = settings.regularizer, settings.plain["choices"]
    if weights.used and not isinstance(settings.algorithm, Learned):
        term, weight = next(iter(weights.used.items()))
        raise UserError(
            f"regularizer.{term}={weight:g}: algorithm={choices['algorithm']} has no meta-training to "
            f"regularize; set regularizer.{term}=0, or choose a meta-learner such as algorithm=maml"
        )
    if weights.embedding and not settings.embedding.size:
        raise UserError(
            f"regularizer.embedding={weights.embedding:g}: there is no task embedding; add embedding=support"
        )
    if weights.proximal and not settings.algorithm.steps(testing=False):
        could = settings.algorithm.second_order and hasattr(settings.algorithm, "inner_steps")
        more = "give algorithm.inner_steps=1" if could else "use algorithm=maml"
        raise UserError(
            f"regularizer.proximal={weights.proximal:g}: training has no inner steps to penalize; "
            f"{more}, or set regularizer.proximal=0"
        )
    if weights.proximal and not settings.algorithm.second_order:
        raise UserError(
            f"regularizer.proximal={weights.proximal:g}: has no effect on an outer loop that treats inner "
            "steps as constants; use algorithm=maml algorithm.order=2"
        )
    if weights.proximal and settings.algorithm.recomputes:
        raise UserError(
            f"regularizer.proximal={weights.proximal:g}: does not go with algorithm.recompute=true, which does not "
            "keep the graph from θ⁰ to θ'; use algorithm.proximal (in the inner loss) or algorithm.recompute=false"
        )
    if weights.output and not settings.hypernet.needs_embedding:
        raise UserError(
            f"regularizer.output={weights.output:g}: there is no hypernetwork; add hypernet=full and embedding=support"
        )


def check_order(settings: Settings, groups: int) -> None:
    """Refuse to learn ``groups`` of tasks one after another where that is not possible, or a penalty that only has a
    meaning there. Raises `UserError`.
    """
    if not settings.trains:
        return
    if settings.engine.order != "sequential":
        if settings.regularizer.output:
            more = "add engine.order=sequential" + (" dataset=polynomials" if groups < 2 else "")
            raise UserError(
                f"regularizer.output={settings.regularizer.output:g}: needs earlier groups of tasks; "
                f"{more}, or set regularizer.output=0"
            )
        return
    if not isinstance(settings.algorithm, Learned):
        choice = settings.plain["choices"]["algorithm"]
        raise UserError(
            f"engine.order=sequential: algorithm={choice} has no meta-training, so the order has no effect; choose a "
            "meta-learner such as algorithm=maml, or set engine.order=shuffled"
        )
    if groups < 2:
        raise UserError(
            f"engine.order=sequential: dataset={settings.plain['choices']['dataset']} has fewer than two groups of "
            "tasks; set engine.order=shuffled, or choose a dataset with groups, such as dataset=polynomials"
        )
    if groups > settings.engine.steps:
        raise UserError(
            f"engine.steps={settings.engine.steps}: fewer than the {groups} groups of tasks to learn one after "
            f"another; give engine.steps={groups} or more, or set engine.order=shuffled"
        )
