"""Task models: networks called with explicit parameters θ, so that every task can have its own."""

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_map

from metarun.core.inputs import Inputs, InputSpec, concatenated, one_of
from metarun.core.kinds import TaskKind
from metarun.core.tasks import AnyExamples
from metarun.models.memory import Memory
from metarun.models.normalization import MOMENTUM, Context

Parameters = dict[str, Tensor]
"""Named tensors: θ, or one group of the meta-parameters φ."""

LAYERS, NORMS, HEAD = "layers.", "norms.", "head."
"""How names of parameters begin, in every network: of the hidden layers, ``layers.0`` and so on; of the normalization
of each, ``norms.0`` and so on; and of the last layer."""

STATISTICS = "statistics."
"""How the names of what ``global`` normalization remembers begin; the name of the layer follows."""

CONTEXT = "context"
"""Name of the context of a network that has one: numbers that belong to the task as a whole, 0 at the start."""


class ModelConfig(Protocol):
    """The keys of a ``conf/model/*.yaml`` file."""

    normalization: str

    def build(self, inputs: InputSpec, outputs: int | None, contexts: int = 0) -> nn.Module:
        """A network whose ``forward(x, context)`` maps n inputs x to ``[n, outputs]``.

        With ``outputs=None`` it has no head and returns features ``[n, features]``. With ``contexts`` it has so many
        numbers besides that condition it (Zintgraf et al. 2019), the parameter `CONTEXT`. Raises `UserError` when the
        input does not fit.
        """
        ...


@dataclass(frozen=True)
class TaskModel:
    """A network and the kind of task it is used for, as pure functions of θ.

    transductive: the queries of a task are normalized by one another, as the first MAML code did; else each query's
        prediction depends on the support set and itself alone.
    normalization: the network's kind, see `metarun.models.normalization`.
    algorithm_network: the network of the algorithm (`Algorithm.network`), called with its meta-parameters; often empty.
    compute: what the network computes in, where that is less precise than its parameters; outputs and gradients have
        the precision of the parameters all the same.
    memory: what is remembered of earlier tasks, as `metarun.learner.learner.Learner.for_task` gives it.
    """

    network: nn.Module
    kind: TaskKind
    normalization: str
    transductive: bool
    algorithm_network: nn.Module = field(default_factory=nn.Module)
    compute: torch.dtype | None = None
    memory: Memory = field(default_factory=Memory)

    @property
    def _by_memory(self) -> bool:
        """Whether rows are normalized by what is remembered of earlier tasks, hence each by itself."""
        return self.normalization == "global" and not self.memory.learning

    def support_loss(
        self, moving: Parameters, fixed: Parameters, running: Parameters, support: AnyExamples
    ) -> tuple[Tensor, Parameters]:
        """Mean loss on support examples, and the running statistics after seeing them.

        θ comes in two parts, the first being the one that a caller differentiates by.
        """
        context = Context(mask=support.mask, running=dict(running))
        prediction = self._called({**fixed, **moving}, support.x, context)
        return self.kind.loss(prediction, support.y, support.mask), context.running

    def support_outputs(self, theta: Parameters, support: AnyExamples) -> Tensor:
        """The outputs ``[s, outputs]`` for support examples of which `support_loss` takes the loss."""
        return self._called(theta, support.x, Context(mask=support.mask))

    def predict(
        self, theta: Parameters, running: Parameters, support: AnyExamples, x: Inputs, mask: Tensor | None = None
    ) -> Tensor:
        """Predictions ``[q, outputs]`` for q queries ``x``; ``mask``: 1 for examples, 0 for padding."""
        if self.transductive or self.normalization in ("group", "none") or self._by_memory:
            return self._called(theta, x, Context(mask=mask, running=dict(running)))
        return self.outputs(theta, running, support, x, mask)[1]

    def outputs(
        self, theta: Parameters, running: Parameters, support: AnyExamples, x: Inputs, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The network's outputs for support and queries, in one pass: ``[s, outputs]``, ``[q, outputs]``.

        With ``global`` normalization a meta-training task is one batch, support and queries together.
        """
        s = len(support.y)
        together = self.transductive or self.normalization == "global"
        seen = joined(support, x, mask) if together else support.mask
        context = Context(None if together else s, seen, dict(running))
        out = self._called(theta, concatenated(support.x, x), context)
        return out[:s], out[s:]

    def _called(self, theta: Parameters, x: Inputs, context: Context) -> Tensor:
        """The network's outputs ``[n, outputs]``; what normalization remembers of the task is left in
        ``context.running``, what it remembers of all tasks is reported to `memory`.
        """
        if self.normalization != "global":
            return self._computed(theta, x, context)
        if self._by_memory:
            for name, tensor in self.memory.held.items():
                if name.startswith(STATISTICS):
                    context.running[name.removeprefix(STATISTICS)] = tensor
        out = self._computed(theta, x, context)
        if self.memory.learning:
            for layer, found in context.running.items():
                past = self.memory.now(STATISTICS + layer)
                self.memory.report(STATISTICS + layer, past + MOMENTUM * (found - past))
        context.running = {}
        return out

    def _computed(self, theta: Parameters, x: Inputs, context: Context) -> Tensor:
        """The network's outputs, in the precision to compute in."""
        if self.compute is None:
            out: Tensor = functional_call(self.network, theta, (x, context))
            return out
        mask = None if context.mask is None else context.mask.to(self.compute)
        seen = Context(context.support, mask, cast(context.running, self.compute))
        computed = tree_map(lambda tensor: tensor.to(self.compute), x)
        out = functional_call(self.network, cast(theta, self.compute), (computed, seen))
        dtype = one_of(x).dtype
        context.running = cast(seen.running, dtype)
        return out.to(dtype)


def cast(parameters: Parameters, dtype: torch.dtype) -> Parameters:
    """The same tensors in another precision."""
    return {name: tensor.to(dtype) for name, tensor in parameters.items()}


def joined(support: AnyExamples, x: Inputs, mask: Tensor | None) -> Tensor | None:
    """Which rows of support and queries together are examples."""
    if support.mask is None and mask is None:
        return None
    masks = ((support.mask, one_of(support.x)), (mask, one_of(x)))
    return torch.cat([rows.new_ones(len(rows)) if mask is None else mask for mask, rows in masks])


def layer_of(name: str) -> str:
    """The layer that a parameter belongs to, by its name: ``layers.0`` of ``layers.0.weight``."""
    return name.rpartition(".")[0] or name


def count(parameters: Parameters) -> int:
    """Number of scalars."""
    return sum(tensor.numel() for tensor in parameters.values())
