"""The optimizer of φ: a PyTorch optimizer on φ's tensors in place, and slow weights."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from metarun.algorithms.base import Learned
from metarun.algorithms.outer_loop import OuterLoop
from metarun.learner.learner import MetaParameters, moving, remember

_BUFFERS: dict[type, set[str]] = {
    torch.optim.Adam: {"step", "exp_avg", "exp_avg_sq"},
    torch.optim.SGD: {"momentum_buffer"},
}
"""What PyTorch's optimizers keep of each parameter."""


class OuterOptimizer:
    """Moves φ, except for `MEMORY`, by its gradient, after optional clipping, with the step size of the schedule.

    ``scales``: factors on the step size, by group of φ; groups without one have 1. Slow weights, where ``outer.slow``
    asks for them, begin at φ as it is given. Between two of their steps φ holds the fast weights.

    From the first meta-update on whose gradient or figures are not finite, nothing moves any more: whether they are is
    decided on φ's device, where nobody waits for it, and learned by asking `lost`.
    """

    def __init__(
        self, outer: OuterLoop, phi: MetaParameters, clip: float | None, scales: Mapping[str, float] | None = None
    ) -> None:
        self._clip = clip
        by_scale: dict[float, list[Tensor]] = {}
        for group, tensors in moving(phi).items():
            by_scale.setdefault((scales or {}).get(group, 1.0), []).extend(tensors.values())
        parameters = [{"params": tensors, "scale": scale} for scale, tensors in by_scale.items() if tensors]
        self._tensors = [tensor for group in moving(phi).values() for tensor in group.values()]
        self._slow = _Slow(outer, self._tensors) if outer.slow.ratio != 1 else None
        self._optimizer: torch.optim.Optimizer
        if outer.optimizer == "adam":
            betas = outer.momentum, 0.999
            self._optimizer = torch.optim.Adam(parameters, outer.lr, betas=betas, fused=True, capturable=True)
        else:
            self._optimizer = torch.optim.SGD(parameters, outer.lr, momentum=outer.momentum, fused=True)
        # What the first step would make, had it happened: it may move nothing, or be recorded as a CUDA graph.
        for tensor in self._tensors if outer.optimizer == "adam" or outer.momentum else ():
            self._optimizer.state[tensor] = {name: _zeros(name, tensor) for name in _BUFFERS[type(self._optimizer)]}
        like = self._tensors[0] if self._tensors else torch.zeros(())
        self.frozen = like.new_zeros((), dtype=torch.float32)
        """1 from the first meta-update on that was not made, on φ's device."""
        self._lost = like.new_zeros((), dtype=torch.int64)

    def step(self, gradient: MetaParameters, lr: float | Tensor, figures: Iterable[Tensor] = ()) -> Tensor:
        """One meta-update, unless the gradient or one of the ``figures``, scalars, is not finite or `frozen` is 1.

        Returns the gradient's norm before clipping. Does not wait for the device.
        """
        gradients = [tensor for group in moving(gradient).values() for tensor in group.values()]
        norm = torch.nn.utils.get_total_norm(gradients)
        sound = torch.stack([norm, *(figure.to(norm.dtype) for figure in figures)]).isfinite().all()
        torch.maximum(self.frozen, (~sound).float(), out=self.frozen)
        self._lost += self.frozen.long()
        if self._clip is not None:
            gradients = list(torch._foreach_mul(gradients, (self._clip / norm).clamp(max=1.0)))
        for tensor, its_gradient in zip(self._tensors, gradients, strict=True):
            tensor.grad = its_gradient
        for settings in self._optimizer.param_groups:
            settings["lr"] = lr * settings["scale"]
        self._optimizer.found_inf = self.frozen  # type: ignore[attr-defined]  # PyTorch's own way to skip a step
        self._optimizer.step()
        if self._slow is not None:
            self._slow.follow(self.frozen)
        return norm

    def lost(self) -> int:
        """How many of the latest meta-updates were not made; waits for the device."""
        lost = int(self._lost)
        if self._slow is not None:
            self._slow.take_back(lost)
        return lost

    def candidate(self, gradient: MetaParameters, lr: float) -> MetaParameters:
        """φ as `step` would leave it; φ and the optimizer stay as they are."""
        before, state = [tensor.clone() for tensor in self._tensors], copy.deepcopy(self.state_dict())
        frozen, lost = self.frozen.clone(), self._lost.clone()
        self.step(gradient, lr)
        self.frozen.copy_(frozen)
        self._lost.copy_(lost)
        after = iter([tensor.clone() for tensor in self._tensors])
        self.load_state_dict(state)
        for tensor, old in zip(self._tensors, before, strict=True):
            tensor.copy_(old)
        moved = {group: {name: next(after) for name in tensors} for group, tensors in moving(gradient).items()}
        return {**gradient, **moved}

    def tensors(self) -> list[Tensor]:
        """All that a step changes beside φ, but for slow weights."""
        kept = [buffer for buffers in self._optimizer.state.values() for buffer in buffers.values()]
        return [*kept, self.frozen, self._lost]

    def state_dict(self) -> dict[str, Any]:
        """PyTorch's ``state``, and ``slow`` where there are slow weights; step sizes and the like are the settings'."""
        slow = {} if self._slow is None else {"slow": {"tensors": self._slow.tensors, "done": self._slow.done}}
        return {"state": self._optimizer.state_dict()["state"], **slow}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave.

        Raises `ValueError`, `TypeError` or `KeyError` where it is not that of an optimizer of this φ.
        """
        param_groups = self._optimizer.state_dict()["param_groups"]
        self._refuse_others(state["state"])
        self._optimizer.load_state_dict({"state": state["state"], "param_groups": param_groups})
        if self._slow is not None:
            self._slow.load(state["slow"]["tensors"], state["slow"]["done"])

    def _refuse_others(self, kept: dict[int, dict[str, Any]]) -> None:
        """PyTorch takes buffers of any name and shape, and fails or broadcasts at the next step."""
        names = _BUFFERS[type(self._optimizer)]
        parameters = [tensor for group in self._optimizer.param_groups for tensor in group["params"]]
        for place, buffers in kept.items():
            if buffers.keys() != names:
                raise ValueError(f"{', '.join(sorted(names))} are expected")
            shape = parameters[place].shape if 0 <= place < len(parameters) else None
            for name, buffer in buffers.items():
                if buffer is not None and buffer.shape != (() if name == "step" else shape):
                    raise ValueError(f"{name} has another shape than its parameter")


def meta_update(
    algorithm: Learned,
    phi: MetaParameters,
    optimizer: OuterOptimizer,
    gradient: MetaParameters,
    metrics: Mapping[str, Tensor],
    lr: float | Tensor,
) -> Tensor:
    """Move φ by a meta-gradient, in place, with what it remembers and the algorithm's bounds; returns the norm.

    Nothing moves where the gradient or a metric is not finite (`OuterOptimizer.step`).
    """
    norm = optimizer.step(gradient, lr, metrics.values())
    remember(phi, gradient, optimizer.frozen)
    algorithm.clamp(phi["algorithm"])
    return norm


def _zeros(buffer: str, parameter: Tensor) -> Tensor:
    if buffer == "step":
        return torch.zeros((), dtype=torch.float32, device=parameter.device)
    return torch.zeros_like(parameter)


class _Slow:
    """Slow weights: a copy of φ's tensors, and how many meta-updates they have let pass."""

    def __init__(self, outer: OuterLoop, fast: list[Tensor]) -> None:
        self._settings, self._fast = outer.slow, fast
        self.tensors, self.done = [tensor.clone() for tensor in fast], 0

    def follow(self, frozen: Tensor) -> None:
        """After a meta-update of the fast weights; ``frozen``: 1 where it was not made."""
        self.done += 1
        if self.done % self._settings.every:
            return
        for slow, fast in zip(self.tensors, self._fast, strict=True):
            slow.lerp_(fast, (self._settings.ratio * (1 - frozen)).to(slow.dtype))
            fast.copy_(torch.where(frozen.bool(), fast, slow))

    def take_back(self, lost: int) -> None:
        """So many of the meta-updates that were followed had not been made."""
        self.done -= lost

    def load(self, tensors: list[Tensor], done: int) -> None:
        """Raises `ValueError` for tensors that are not those of this φ."""
        if type(done) is not int or done < 0:
            raise ValueError("slow weights of no step")
        if [tensor.shape for tensor in tensors] != [tensor.shape for tensor in self.tensors]:
            raise ValueError("slow weights of another φ")
        for slow, saved in zip(self.tensors, tensors, strict=True):
            slow.copy_(saved)
        self.done = done
