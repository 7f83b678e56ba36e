"""The parts put together: from meta-parameters φ and one task to an objective, or to an adaptation curve.

Everything here is a pure function of tensors for one task: the engine batches it.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metarun.algorithms.base import Algorithm, Draws, Learned
from metarun.kinds import TaskKind
from metarun.models.base import Parameters, TaskModel
from metarun.tasks import Examples, Task

MetaParameters = dict[str, Parameters]
"""φ, in groups: ``theta`` (θ₀), ``embedding``, ``hypernet``, ``algorithm``; a group may be empty."""


@dataclass(frozen=True)
class Learner:
    """A start, an adaptation and an outer rule.

    model: the task model, for tasks as at meta-test.
    training_kind: the kind of the meta-training tasks, which may have more ways.
    """

    model: TaskModel
    training_kind: TaskKind
    embedding: nn.Module
    hypernet: nn.Module
    algorithm: Algorithm

    def initial(self) -> MetaParameters:
        """φ before meta-training, as the parts were initialised."""
        theta = _parameters(self.model.network)
        return {
            "theta": theta if self.hypernet.uses_theta else {},
            "embedding": _parameters(self.embedding),
            "hypernet": _parameters(self.hypernet),
            "algorithm": self.algorithm.parameters(theta),
        }

    def embed(self, phi: MetaParameters, support: Examples) -> Tensor:
        """The task embedding e_t ``[size]``."""
        labels = self.model.kind.features(support.y, support.x.dtype)
        return functional_call(self.embedding, phi["embedding"], (support.x, labels))

    def start(self, phi: MetaParameters, support: Examples) -> Parameters:
        """Where the task starts: θ_t⁰ = f(φ, e_t)."""
        return functional_call(self.hypernet, phi["hypernet"], (phi["theta"], self.embed(phi, support)))

    def objective(self, phi: MetaParameters, task: Task, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        """What the outer loop differentiates, and the metrics of the adapted model on the queries."""
        assert isinstance(self.algorithm, Learned)
        model = replace(self.model, kind=self.training_kind)
        # Training labels may be more than this model's kind knows.
        start = replace(self, model=model).start(phi, task.support)
        objective, prediction = self.algorithm.objective(model, phi["algorithm"], start, task, draws)
        return objective, self.training_kind.metrics(prediction.detach(), task.query.y)

    def curve(self, phi: MetaParameters, task: Task, draws: Draws, whole: bool = True) -> dict[str, Tensor]:
        """Metrics on the queries before and after each inner step, ``[steps + 1]`` each; or after the last, ``[1]``."""
        model, own, algorithm = self.model, phi["algorithm"], self.algorithm

        def metrics() -> dict[str, Tensor]:
            prediction = algorithm.predict(model, own, state, task.support, task.query.x)
            return model.kind.metrics(prediction, task.query.y)

        state = algorithm.begin(self.start(phi, task.support))
        steps = algorithm.steps(testing=True)
        points = [metrics()] if whole or not steps else []
        for number in range(steps):
            state = algorithm.step(model, own, state, task.support, number, draws)
            if whole or number == steps - 1:
                points.append(metrics())
        return {name: torch.stack([point[name] for point in points]) for name in points[0]}


def _parameters(module: nn.Module) -> Parameters:
    return {name: parameter.detach() for name, parameter in module.named_parameters()}
