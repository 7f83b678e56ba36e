"""A meta-learner as a surrogate: adapted to the configurations that were tried, it predicts the losses of all."""

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from metarun.core.errors import UserError
from metarun.core.kinds.gaussian import Gaussian
from metarun.core.tasks import Examples, Task, batch
from metarun.datasets.configurations import Configurations
from metarun.hpo.history import Observed
from metarun.hpo.surrogates.base import Prediction
from metarun.learner.learner import Learner, MetaParameters


class LearnedSurrogate:
    """φ and a learner of a ``dataset=configurations``, whose tasks are predicted by mean and variance.

    Predictions are in the standardized units of the dataset, as losses: negated where the metric is to be maximized.
    Raises `UserError` unless the learner predicts a variance.
    """

    def __init__(self, learner: Learner, phi: MetaParameters, dataset: Configurations, name: str) -> None:
        """name: what messages call it."""
        if not isinstance(learner.problem.kind, Gaussian):
            raise UserError(
                f"{name}: its predictions have no variance, which the acquisition function needs; train with "
                "likelihood=gaussian"
            )
        self._learner, self._phi, self._dataset, self._name = learner, phi, dataset, name
        like = next(iter(phi["theta"].values()))
        self._x = torch.as_tensor(dataset.encoding, dtype=like.dtype, device=like.device)

    @property
    def device(self) -> torch.device:
        return self._x.device

    def predict(self, observed: Observed, random: np.random.Generator) -> Prediction:
        data, kind = self._dataset, self._learner.model.kind
        assert isinstance(kind, Gaussian)
        tried, losses = observed.scored
        scores = (data.sign * losses - data.target_mean) / data.target_std
        y = torch.as_tensor(scores[:, None], dtype=self._x.dtype, device=self._x.device)
        with torch.no_grad():
            prediction = self._predictions(self._x[torch.as_tensor(tried)], y, observed)
            mean, log_variance = kind.moments(prediction)
        mean, std = mean[:, 0].double().cpu(), (log_variance[:, 0].double() / 2).exp().cpu()
        if not mean.isfinite().all():
            raise UserError(f"{self._name}: adapting to {len(tried)} configurations diverged; see algorithm.inner_lr")
        return Prediction(data.sign * mean.numpy(), std.numpy(), float((data.sign * scores).min()))

    def _predictions(self, tried: Tensor, y: Tensor, observed: Observed) -> Tensor:
        learner, x = self._learner, self._x
        described = self._dataset.described(observed.features).to(x)
        query = Examples(x[None], x.new_zeros(1, len(x), 1))
        number = torch.zeros(1, dtype=torch.int64, device=x.device)
        tasks = batch(Examples(tried[None], y[None]), query, number, descriptor=described[None])
        task: Task = tree_map(lambda tensor: tensor[0], tasks)
        draws = {name: each[0] for name, each in learner.draws(tasks, testing=True, progress=1.0).items()}
        model, state = learner.adapted(self._phi, task, draws)
        return learner.algorithm.predict(model, self._phi["algorithm"], state, task.support, x)
