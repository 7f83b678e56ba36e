"""The parts put together: from meta-parameters φ and one task to an objective, or to an adaptation curve.

Everything here is a pure function of tensors for one task: the engine batches it.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metarun.algorithms.base import Adapted, Algorithm, Draws, Learned
from metarun.datasets.base import Problem
from metarun.embeddings.base import Embedding, Seen
from metarun.hypernets.base import Hypernet
from metarun.models.base import Parameters, TaskModel
from metarun.regularisers.penalties import Penalties
from metarun.tasks import Task

MetaParameters = dict[str, Parameters]
"""φ, in groups: ``theta`` (θ₀), ``embedding``, ``hypernet``, ``algorithm``; a group may be empty."""


@dataclass(frozen=True)
class Learner:
    """A start, an adaptation and an outer rule.

    problem: what it is built for. model: the task model, for tasks as at meta-test.
    """

    problem: Problem
    model: TaskModel
    embedding: Embedding
    hypernet: Hypernet
    algorithm: Algorithm
    penalties: Penalties

    def initial(self) -> MetaParameters:
        """φ before meta-training, as the parts were initialised."""
        theta = _parameters(self.model.network)
        return {
            "theta": {name: tensor for name, tensor in theta.items() if name in self.hypernet.shared},
            "embedding": _parameters(self.embedding),
            "hypernet": _parameters(self.hypernet),
            "algorithm": {**self.algorithm.parameters(theta, self.problem), **_parameters(self.model.own)},
        }

    def learned(self, phi: MetaParameters) -> MetaParameters:
        """φ without what settings hold at its start."""
        free = {name: tensor for name, tensor in phi["embedding"].items() if name not in self.embedding.held}
        own = {name: tensor for name, tensor in phi["algorithm"].items() if not self.algorithm.holds(name)}
        return {**phi, "embedding": free, "algorithm": own}

    def seen(self, task: Task) -> Seen:
        """What the embedding may look at."""
        labels = self.model.kind.features(task.support.y, task.support.x.dtype)
        return Seen(task.support, labels, task.identity, task.descriptor)

    def embed(self, phi: MetaParameters, task: Task, testing: bool) -> Tensor:
        """The task embedding e_t ``[size]``."""

        def fit(embedding: Tensor) -> Tensor:
            return self.unadapted_loss(phi, self.generated(phi, embedding), task)

        return functional_call(self.embedding, phi["embedding"], (self.seen(task), fit, testing))

    def generated(self, phi: MetaParameters, embedding: Tensor) -> Parameters:
        """θ_t⁰ = f(φ, e_t)."""
        return functional_call(self.hypernet, phi["hypernet"], (phi["theta"], embedding))

    def unadapted_loss(self, phi: MetaParameters, theta: Parameters, task: Task) -> Tensor:
        """The loss on the support set itself at a start θ⁰, before any inner step."""
        own, support = phi["algorithm"], task.support
        state = self.algorithm.begin(own, theta)
        prediction = self.algorithm.predict(self.model, own, state, support, support.x, support.real)
        return self.model.kind.loss(prediction, support.y, support.real)

    def start(self, phi: MetaParameters, task: Task, testing: bool) -> Parameters:
        """Where the task starts."""
        return self.generated(phi, self.embed(phi, task, testing))

    def objective(self, phi: MetaParameters, task: Task, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        """What the outer loop differentiates, and the metrics of the adapted model on the queries.

        Terms of Ω are added to the first and told in the second, before weighting, as ``omega/<name>``.
        """
        assert isinstance(self.algorithm, Learned)
        # Training labels may be more than this model's kind knows.
        model = replace(self.model, kind=self.problem.training_kind)
        training = replace(self, model=model)
        embedding = training.embed(phi, task, testing=False)
        start = training.generated(phi, embedding)
        outcome = self.algorithm.objective(model, phi["algorithm"], start, task, draws)
        metrics = model.kind.metrics(outcome.prediction.detach(), task.query.y, task.query.real)
        objective = outcome.objective
        learned = self.learned(phi)
        for name, (weight, term) in self.penalties.terms(learned, embedding, start, outcome.adapted).items():
            objective = objective + weight * term
            metrics[f"omega/{name}"] = term.detach()
        return objective, metrics

    def curve(self, phi: MetaParameters, task: Task, draws: Draws, whole: bool = True) -> "Curve":
        """Metrics on the queries before and after each inner step, or after the last alone."""
        model, own, algorithm, query = self.model, phi["algorithm"], self.algorithm, task.query

        predictions: list[Tensor] = []

        def predict(state: Adapted) -> None:
            predictions.append(algorithm.predict(model, own, state, task.support, query.x, query.real))

        theta = self.start(phi, task, testing=True)
        last = algorithm.adapt(model, own, theta, task.support, draws, testing=True, visit=predict if whole else None)
        if not whole:
            predict(last)
        points = [model.kind.metrics(prediction, query.y, query.real) for prediction in predictions]
        metrics = {name: torch.stack([point[name] for point in points]) for name in points[0]}
        asked = (predictions[-1], query.y, query.real)
        return Curve(metrics, model.kind.totals(*asked), model.kind.answers(*asked))


class Curve(NamedTuple):
    """metrics: ``[steps + 1]``, or ``[1]``, each. totals, answers: those of `TaskKind` after the last inner step."""

    metrics: dict[str, Tensor]
    totals: dict[str, Tensor]
    answers: dict[str, Tensor]


def _parameters(module: nn.Module) -> Parameters:
    return {name: parameter.detach() for name, parameter in module.named_parameters()}
