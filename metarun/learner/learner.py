"""The learner: from meta-parameters φ and one task to an objective, or to an adaptation curve.

Everything here is a pure function of tensors for one task: the engine batches it.
"""

from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metarun.algorithms.base import Algorithm, Draws, InnerState, Learned
from metarun.core import counters
from metarun.core.inputs import one_of
from metarun.core.tasks import Task, TaskBatch
from metarun.datasets.base import Problem
from metarun.embeddings.base import Embedding, EmbeddingInputs
from metarun.hypernets.base import Hypernet
from metarun.models.base import STATISTICS, Parameters, TaskModel
from metarun.models.memory import MEMORY, Memory
from metarun.models.normalization import remembered
from metarun.regularizers.penalties import Penalties

MetaParameters = dict[str, Parameters]
"""φ, in groups: ``theta`` (θ₀), ``embedding``, ``hypernet``, ``algorithm``; a group may be empty.

No gradient moves a fifth, `MEMORY`: what is remembered of the tasks met (`metarun.models.memory`).
"""


@dataclass(frozen=True)
class Learner:
    """A start, an adaptation and an outer rule.

    problem: what it is built for. model: the task model, for tasks as at meta-test. seed: the run's.
    """

    problem: Problem
    model: TaskModel
    embedding: Embedding
    hypernet: Hypernet
    algorithm: Algorithm
    penalties: Penalties
    seed: int = 0

    def initial(self) -> MetaParameters:
        """φ before meta-training, as the parts were initialized."""
        theta = _parameters(self.model.network)
        return {
            "theta": {name: tensor for name, tensor in theta.items() if name in self.hypernet.shared},
            "embedding": _parameters(self.embedding),
            "hypernet": _parameters(self.hypernet),
            "algorithm": {
                **self.algorithm.parameters(theta, self.problem),
                **_parameters(self.model.algorithm_network),
            },
            MEMORY: {
                **{STATISTICS + name: tensor for name, tensor in remembered(self.model.network).items()},
                **self.algorithm.memory(theta),
            },
        }

    def learned(self, phi: MetaParameters) -> MetaParameters:
        """φ without what settings hold at its start, and without what no gradient moves."""
        free = {name: tensor for name, tensor in phi["embedding"].items() if name not in self.embedding.frozen}
        params = {name: tensor for name, tensor in phi["algorithm"].items() if not self.algorithm.is_frozen(name)}
        return {**phi, "embedding": free, "algorithm": params, MEMORY: {}}

    def for_task(self, phi: MetaParameters, learning: bool = False) -> TaskModel:
        """The task model with what φ remembers, for one task: one of meta-training where it is ``learning``.

        Training labels may be more than the kind of the tasks of meta-test knows.
        """
        kind = self.problem.training_kind if learning else self.model.kind
        held = {name: tensor.detach() for name, tensor in phi[MEMORY].items()}
        return replace(self.model, kind=kind, memory=Memory(held, learning))

    def embedding_inputs(self, task: Task) -> EmbeddingInputs:
        """The inputs of the embedding."""
        labels = self.model.kind.encode_labels(task.support.y, one_of(task.support.x).dtype)
        return EmbeddingInputs(task.support, labels, task.identity, task.descriptor)

    def embed(self, phi: MetaParameters, task: Task, testing: bool) -> Tensor:
        """The task embedding e_t ``[size]``."""

        def fit(embedding: Tensor) -> Tensor:
            return self.unadapted_loss(phi, self.generate(phi, embedding), task, learning=not testing)

        return functional_call(self.embedding, phi["embedding"], (self.embedding_inputs(task), fit, testing))

    def generate(self, phi: MetaParameters, embedding: Tensor) -> Parameters:
        """θ_t⁰ = f(φ, e_t)."""
        return functional_call(self.hypernet, phi["hypernet"], (phi["theta"], embedding))

    def unadapted_loss(self, phi: MetaParameters, theta: Parameters, task: Task, learning: bool = False) -> Tensor:
        """The loss on the support set itself at a start θ⁰, before any inner step; ``learning`` as in `for_task`."""
        params, support = phi["algorithm"], task.support
        model, state = self.for_task(phi, learning), self.algorithm.initial_state(params, theta)
        prediction = self.algorithm.predict(model, params, state, support, support.x, support.mask)
        return model.kind.loss(prediction, support.y, support.mask)

    def start(self, phi: MetaParameters, task: Task, testing: bool) -> Parameters:
        """The initialization of a task, θ_t⁰."""
        return self.generate(phi, self.embed(phi, task, testing))

    def draws(self, tasks: TaskBatch, testing: bool, progress: float) -> Draws:
        """What the inner loops of T tasks receive from outside (`Algorithm.draws`), random by the run's seed."""
        return self.algorithm.draws(tasks._replace(number=tasks.number + _offset(self.seed)), testing, progress)

    def objective(self, phi: MetaParameters, task: Task, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        """What the outer loop differentiates, and the metrics of the adapted model on the queries.

        Terms of Ω are added to the objective; unweighted, they are metrics ``omega/<name>``.
        """
        objective, (metrics, _) = self.objective_and_reports(phi, task, draws)
        return objective, metrics

    def objective_and_reports(
        self, phi: MetaParameters, task: Task, draws: Draws
    ) -> tuple[Tensor, tuple[dict[str, Tensor], Parameters]]:
        """What `objective` returns, and beside the metrics what φ would remember after this task alone."""
        assert isinstance(self.algorithm, Learned)
        model = self.for_task(phi, learning=True)
        training = replace(self, model=model)
        embedding = training.embed(phi, task, testing=False)
        start = training.generate(phi, embedding)
        outcome = self.algorithm.objective(model, phi["algorithm"], start, task, draws)
        metrics = model.kind.metrics(outcome.prediction.detach(), task.query.y, task.query.mask)
        objective = outcome.objective
        learned = self.learned(phi)
        for name, (weight, term) in self.penalties.terms(learned, embedding, start, outcome.adapted).items():
            objective = objective + weight * term
            metrics[f"omega/{name}"] = term.detach()
        return objective, (metrics, model.memory.after())

    def adapted(self, phi: MetaParameters, task: Task, draws: Draws) -> tuple[TaskModel, InnerState]:
        """The task model with what φ remembers, and the state after the inner loop on the support set, as at test."""
        model, start = self.for_task(phi), self.start(phi, task, testing=True)
        return model, self.algorithm.adapt(model, phi["algorithm"], start, task.support, draws, testing=True)

    def curve(self, phi: MetaParameters, task: Task, draws: Draws, whole: bool = True) -> "Curve":
        """Metrics on the queries before and after each inner step, or after the last alone."""
        model, params, algorithm, query = self.for_task(phi), phi["algorithm"], self.algorithm, task.query

        predictions: list[Tensor] = []

        def predict(state: InnerState) -> None:
            predictions.append(algorithm.predict(model, params, state, task.support, query.x, query.mask))

        theta = self.start(phi, task, testing=True)
        last = algorithm.adapt(
            model, params, theta, task.support, draws, testing=True, visit=predict if whole else None
        )
        if not whole:
            predict(last)
        points = [model.kind.metrics(prediction, query.y, query.mask) for prediction in predictions]
        metrics = {name: torch.stack([point[name] for point in points]) for name in points[0]}
        asked = (predictions[-1], query.y, query.mask)
        return Curve(metrics, model.kind.totals(*asked), model.kind.answers(*asked))


@cache
def _offset(seed: int) -> int:
    """Where the numbers of tasks begin for the random choices of algorithms: far apart for any two seeds."""
    return counters.key(seed, "algorithm") - counters.key(0, "algorithm")


class Curve(NamedTuple):
    """metrics: ``[steps + 1]``, or ``[1]``, each. totals, answers: those of `TaskKind` after the last inner step."""

    metrics: dict[str, Tensor]
    totals: dict[str, Tensor]
    answers: dict[str, Tensor]


def remember(phi: MetaParameters, update: MetaParameters, frozen: Tensor) -> None:
    """Let φ remember, in place, what the tasks of a meta-batch reported: the group `MEMORY` of a meta-gradient.

    ``frozen``: 1 where φ is to stay as it is.
    """
    for name, tensor in phi[MEMORY].items():
        tensor.copy_(torch.where(frozen.bool(), tensor, update[MEMORY][name]))


def moving(phi: MetaParameters) -> MetaParameters:
    """φ without what no gradient moves."""
    return {group: tensors for group, tensors in phi.items() if group != MEMORY}


def _parameters(module: nn.Module) -> Parameters:
    return {name: parameter.detach() for name, parameter in module.named_parameters()}
