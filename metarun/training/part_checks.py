"""User-defined parts are tried on two tasks before training: an error is one line that names the method.

What these find would otherwise train something else without an error: `functional_call` falls back to a module's own
tensors for those that a hypernetwork forgets, and shapes that broadcast look right.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.utils._pytree import tree_leaves, tree_map

from metarun.algorithms.base import Learned
from metarun.config.groups import TESTS
from metarun.core.errors import UserError
from metarun.core.inputs import one_of
from metarun.core.tasks import Task, TaskBatch
from metarun.datasets.base import Dataset, DatasetConfig
from metarun.engine.compile.perturbation import perturbed
from metarun.learner.learner import Learner, MetaParameters
from metarun.models.base import Parameters
from metarun.models.normalization import Context
from metarun.setup.settings import Settings
from metarun.setup.suite import FurtherTest
from metarun.setup.user_parts import is_user_part, user_groups

TASKS = 2


def check_user_parts(settings: Settings, learner: Learner, phi: MetaParameters, dataset: Dataset) -> None:
    """Refuse user-defined parts that violate the interface of their base class.

    Checked are names, shapes, precision and finite numbers of what they make, that the same call gives the same result,
    and that gradients reach the meta-parameters. Parts of metarun's are not checked here; its tests do. Raises
    `UserError`.
    """
    by_user = user_groups(settings)
    if not by_user or settings.checkpoint is not None:  # which was trained with these, on other data perhaps
        return
    group = 0 if settings.engine.order == "sequential" else None
    batch = dataset.sample("train", 0, TASKS, group)
    if "dataset" in by_user:
        repeated = dataset.sample("train", 0, TASKS, group)
        _refuse_other_tasks(_choice(settings, "dataset"), settings.dataset, dataset, batch, repeated)
    for number in range(TASKS):
        task: Task = tree_map(lambda tensor, number=number: tensor[number], batch)
        _Check(settings, learner, phi, batch, task, number).run(by_user)
    _refuse_unreached(settings, learner, perturbed(phi), batch, by_user)


def check_user_test_data(settings: Settings, tests: Sequence[FurtherTest]) -> None:
    """Refuse further data sets of the user's own classes that give other tasks at every call. Raises `UserError`."""
    for one in tests:
        config = settings.test_dataset[one.name]
        if is_user_part(config):
            first, repeated = (one.dataset.sample("test", 0, TASKS) for _ in range(2))
            _refuse_other_tasks(f"{TESTS}.{one.name}", config, one.dataset, first, repeated)


def _refuse_other_tasks(
    place: str, config: DatasetConfig, dataset: Dataset, first: TaskBatch, repeated: TaskBatch
) -> None:
    if all(map(_same, tree_leaves(first), tree_leaves(repeated))):
        return
    name = _called(config) + ".task" if hasattr(config, "task") else _called(dataset) + ".sample"
    raise UserError(
        f"{place}: {name} returns a different task when called again for the same one; draw "
        "all random numbers from its generator"
    )


@dataclass(frozen=True)
class _Check:
    """One task, at the first φ."""

    settings: Settings
    learner: Learner
    phi: MetaParameters
    batch: TaskBatch
    task: Task
    number: int

    def run(self, by_user: set[str]) -> None:
        """Check the parts in the order in which a task meets them, so that the first one at fault is named."""
        learner = self.learner
        with torch.no_grad():
            if "model" in by_user:
                self._model()
            embedding = learner.embed(self.phi, self.task, testing=False)
            if "embedding" in by_user:
                self._embedding(embedding)
            start = learner.generate(self.phi, embedding)
            if "hypernet" in by_user:
                self._hypernet(start, embedding)
        if "algorithm" in by_user:
            self._algorithm(start)

    def _model(self) -> None:
        network, x = self.learner.model.network, self.task.support.x
        theta = {name: tensor.detach() for name, tensor in network.named_parameters()}

        def call() -> Any:
            return functional_call(network, theta, (x, Context()))

        say, out = self._say("model", network, "forward"), call()
        outputs = self.learner.problem.kind.outputs if self.learner.algorithm.needs_head else None
        count = len(self.task.support.y)
        wanted = f"[{count}, {'features' if outputs is None else outputs}]"
        if (
            not isinstance(out, Tensor)
            or out.dim() != 2
            or out.shape[0] != count
            or outputs not in (None, out.shape[1])
        ):
            raise say(f"returns {_shown(out)} for {count} inputs, where {wanted} is expected")
        self._refuse_wrong(say, out, call, one_of(x).dtype)
        moved = {name: tensor + 0.1 for name, tensor in theta.items()}
        if theta and torch.equal(functional_call(network, moved, (x, Context())), out):
            raise say("ignores its parameters; use them as attributes of the module (self.…)")

    def _embedding(self, made: Any) -> None:
        learner, size = self.learner, self.settings.embedding.size
        say = self._say("embedding", learner.embedding, "forward")
        if not isinstance(made, Tensor) or made.shape != (size,):
            raise say(f"returns {_shown(made)}, where [{size}] is expected (size={size})")
        self._refuse_wrong(
            say, made, lambda: learner.embed(self.phi, self.task, testing=False), self.task.descriptor.dtype
        )

    def _hypernet(self, made: Any, embedding: Tensor) -> None:
        learner = self.learner
        say = self._say("hypernet", learner.hypernet, "forward")
        theta = dict(learner.model.network.named_parameters())
        if not isinstance(made, dict):
            raise say(f"returns {_shown(made)}, where a dict of every tensor of θ is expected")
        for name, tensor in theta.items():
            if name not in made:
                raise say(f"makes no '{name}'; a start θ_t⁰ has every tensor of θ, also those that it passes on")
            if not isinstance(made[name], Tensor) or made[name].shape != tensor.shape:
                raise say(f"makes {_shown(made[name])} for '{name}', where {list(tensor.shape)} is expected")
        if unknown := sorted(made.keys() - theta.keys()):
            raise say(f"makes '{unknown[0]}', which the model does not have")
        repeated = learner.generate(self.phi, embedding)
        for name, tensor in theta.items():
            self._refuse_wrong(say, made[name], partial(repeated.__getitem__, name), tensor.dtype, f"'{name}'")

    def _algorithm(self, start: Parameters) -> None:
        learner, task, number = self.learner, self.task, self.number
        algorithm = learner.algorithm
        drawn = learner.draws(self.batch, testing=False, progress=0.0)
        draws = {name: tensor[number] for name, tensor in drawn.items()}
        say = self._say("algorithm", algorithm, "predict")

        def call() -> Any:
            model, params = learner.for_task(self.phi, learning=True), self.phi["algorithm"]
            state = algorithm.adapt(model, params, start, task.support, draws)
            return algorithm.predict(model, params, state, task.support, task.query.x, task.query.mask)

        out, wanted = call(), (len(task.query.y), learner.problem.training_kind.outputs)
        if not isinstance(out, Tensor) or tuple(out.shape) != wanted:
            raise say(f"returns {_shown(out)}, where {list(wanted)} is expected")
        self._refuse_wrong(say, out, call, one_of(task.query.x).dtype)
        if isinstance(algorithm, Learned):
            objective = learner.objective(self.phi, task, draws)[0]
            say = self._say("algorithm", algorithm, "objective")
            if objective.shape != ():
                raise say(f"returns an objective {_shown(objective)}, where a scalar is expected")
            self._refuse_wrong(
                say, objective, lambda: learner.objective(self.phi, task, draws)[0], objective.dtype, "an objective"
            )

    def _refuse_wrong(
        self,
        say: Callable[[str], UserError],
        made: Tensor,
        repeat: Callable[[], Tensor],
        dtype: torch.dtype,
        what: str = "a result",
    ) -> None:
        if made.dtype != dtype:
            raise say(f"makes {what} in {_name(made.dtype)}, where {_name(dtype)} is expected")
        if not made.isfinite().all():
            raise say(f"makes {what} with numbers that are not finite")
        if not _same(made, repeat()):
            raise say(
                f"makes {what} that differs between calls with equal arguments; it must be a pure function, and "
                "random numbers must come from metarun.core.counters"
            )

    def _say(self, group: str, part: object, method: str) -> Callable[[str], UserError]:
        where = f"{_choice(self.settings, group)}: {_called(part)}.{method}"
        return lambda what: UserError(f"{where} {what}")


_MADE_BY = {"theta": "model", "embedding": "embedding", "hypernet": "hypernet", "algorithm": "algorithm"}
"""The part whose parameters a group of φ holds."""


def _refuse_unreached(
    settings: Settings, learner: Learner, phi: MetaParameters, batch: TaskBatch, by_user: set[str]
) -> None:
    """Refuse parameters of the user's own parts that no gradient reaches, away from a start that may hide some.

    Settings can hold parameters, and step sizes are constants to an outer loop of first order.
    """
    if not isinstance(learner.algorithm, Learned):
        return
    leaves = {group: {n: t.detach().requires_grad_() for n, t in tensors.items()} for group, tensors in phi.items()}
    names = [(group, name) for group, name in _learned(learner, leaves) if _blamed(learner, group, by_user)]
    if not names:
        return
    # At the end of training, when whatever is annealed in has its part.
    drawn = learner.draws(batch, testing=False, progress=0.999)
    objectives = []
    for number in range(TASKS):
        task: Task = tree_map(lambda tensor, number=number: tensor[number], batch)
        objectives.append(learner.objective(leaves, task, {name: each[number] for name, each in drawn.items()})[0])
    total = torch.stack(objectives).sum()
    wanted = [leaves[group][name] for group, name in names]
    found: tuple[Tensor | None, ...] = (None,) * len(names)
    if total.requires_grad:
        found = torch.autograd.grad(total, wanted, allow_unused=True)
    for group in dict.fromkeys(group for group, _ in names):
        part, module = _blamed(learner, group, by_user)
        gradients = {name: each for (of, name), each in zip(names, found, strict=True) if of == group}
        say = f"{_choice(settings, part)}: {_called(module)}: the gradient"
        if total.isfinite() and not all(each.isfinite().all() for each in gradients.values() if each is not None):
            raise UserError(f"{say} of {group} is not finite, as that of a root or a norm at zero; add a small number")
        lost = [name for name, each in gradients.items() if each is None]
        if not any(each.any() for each in gradients.values() if each is not None):
            lost = list(gradients)
        # Parts of metarun's may have parameters that an algorithm of the user's has no use for.
        if len(lost) == len(gradients) or (lost and _MADE_BY[group] in by_user):
            raise UserError(
                f"{say} does not reach '{lost[0]}' of {group}, which would stay at its start; do not use detach(), "
                ".data or torch.no_grad() on the way, or leave it out"
            )


def _learned(learner: Learner, phi: MetaParameters) -> Iterator[tuple[str, str]]:
    first_order = getattr(learner.algorithm, "order", 2) == 1
    for group, tensors in learner.learned(phi).items():
        if group in _MADE_BY and not (group == "algorithm" and first_order):
            yield from ((group, name) for name in tensors)


def _blamed(learner: Learner, group: str, by_user: set[str]) -> Any:
    """The user's own part to name where a group is not reached, and its module; ``None`` if it is not theirs.

    Where θ₀ or the embedding are not reached, what lies between them and the loss may be at fault: the first of the
    user's own parts on the way.
    """
    modules: dict[str, object] = {
        "model": learner.model.network,
        "embedding": learner.embedding,
        "hypernet": learner.hypernet,
        "algorithm": learner.algorithm,
    }
    way = {
        "theta": ("model", "hypernet", "algorithm"),
        "embedding": ("embedding", "hypernet", "model", "algorithm"),
        "hypernet": ("hypernet", "model", "algorithm"),
        "algorithm": ("algorithm",),
    }[group]
    return next(((part, modules[part]) for part in way if part in by_user), None)


def _choice(settings: Settings, group: str) -> str:
    return f"{group}={settings.plain['choices'].get(group)}"


def _called(part: object) -> str:
    return f"{type(part).__module__}.{type(part).__qualname__}"


def _shown(value: Any) -> str:
    return str(list(value.shape)) if isinstance(value, Tensor) else f"a {type(value).__name__}"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _same(one: Any, other: Any) -> bool:
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return bool(one == other)
    return one.shape == other.shape and bool(((one == other) | ((one != one) & (other != other))).all())
