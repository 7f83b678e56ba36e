"""The optimiser of φ: PyTorch's own, over φ's tensors in place, and the slow weights that follow it."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from metarun.algorithms.outer_loop import OuterLoop
from metarun.learner import MetaParameters, moving

_BUFFERS: dict[type, set[str]] = {
    torch.optim.Adam: {"step", "exp_avg", "exp_avg_sq"},
    torch.optim.SGD: {"momentum_buffer"},
}
"""What PyTorch's optimisers keep of each parameter."""


class OuterOptimiser:
    """Moves φ, except for `MEMORY`, by its gradient, after optional clipping, with the step size of the schedule.

    ``scales``: factors on the step size, by group of φ; groups without one have 1. Slow weights, where ``outer.slow``
    asks for them, begin at φ as it is given. Between two of their steps φ holds the fast weights.
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
        self._optimiser: torch.optim.Optimizer
        if outer.optimiser == "adam":
            self._optimiser = torch.optim.Adam(parameters, outer.lr, betas=(outer.momentum, 0.999), fused=True)
        else:
            self._optimiser = torch.optim.SGD(parameters, outer.lr, momentum=outer.momentum)

    def step(self, gradient: MetaParameters, lr: float) -> Tensor:
        """One meta-update, unless the gradient is not finite; returns the gradient's norm before clipping."""
        gradients = [tensor for group in moving(gradient).values() for tensor in group.values()]
        norm = torch.nn.utils.get_total_norm(gradients)
        if not norm.isfinite():
            return norm
        if self._clip is not None and norm > self._clip:
            gradients = [tensor * (self._clip / norm) for tensor in gradients]
        for tensor, its_gradient in zip(self._tensors, gradients, strict=True):
            tensor.grad = its_gradient
        for settings in self._optimiser.param_groups:
            settings["lr"] = lr * settings["scale"]
        self._optimiser.step()
        if self._slow is not None:
            self._slow.follow()
        return norm

    def candidate(self, gradient: MetaParameters, lr: float) -> MetaParameters:
        """φ as `step` would leave it; φ and the optimiser stay as they are."""
        before, state = [tensor.clone() for tensor in self._tensors], copy.deepcopy(self.state_dict())
        self.step(gradient, lr)
        after = iter([tensor.clone() for tensor in self._tensors])
        self.load_state_dict(state)
        for tensor, old in zip(self._tensors, before, strict=True):
            tensor.copy_(old)
        moved = {group: {name: next(after) for name in tensors} for group, tensors in moving(gradient).items()}
        return {**gradient, **moved}

    def state_dict(self) -> dict[str, Any]:
        """PyTorch's, and ``slow`` where there are slow weights."""
        slow = {} if self._slow is None else {"slow": {"tensors": self._slow.tensors, "done": self._slow.done}}
        return {**self._optimiser.state_dict(), **slow}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave, but for step sizes and the like, which are the settings'.

        Raises `ValueError`, `TypeError` or `KeyError` where it is not that of an optimiser of this φ.
        """
        own = self._optimiser.state_dict()["param_groups"]
        self._refuse_others(state["state"])
        self._optimiser.load_state_dict({"state": state["state"], "param_groups": own})
        if self._slow is not None:
            self._slow.load(state["slow"]["tensors"], state["slow"]["done"])

    def _refuse_others(self, kept: dict[int, dict[str, Any]]) -> None:
        """PyTorch takes buffers of any name and shape, and fails or broadcasts at the next step."""
        names = _BUFFERS[type(self._optimiser)]
        parameters = [tensor for group in self._optimiser.param_groups for tensor in group["params"]]
        for place, buffers in kept.items():
            if buffers.keys() != names:
                raise ValueError(f"{', '.join(sorted(names))} are expected")
            shape = parameters[place].shape if 0 <= place < len(parameters) else None
            for name, buffer in buffers.items():
                if buffer is not None and buffer.shape != (() if name == "step" else shape):
                    raise ValueError(f"{name} has another shape than its parameter")


class _Slow:
    """Slow weights: a copy of φ's tensors, and how many meta-updates they have let pass."""

    def __init__(self, outer: OuterLoop, fast: list[Tensor]) -> None:
        self._settings, self._fast = outer.slow, fast
        self.tensors, self.done = [tensor.clone() for tensor in fast], 0

    def follow(self) -> None:
        """After a meta-update of the fast weights."""
        self.done += 1
        if self.done % self._settings.every:
            return
        for slow, fast in zip(self.tensors, self._fast, strict=True):
            slow.lerp_(fast, self._settings.ratio)
            fast.copy_(slow)

    def load(self, tensors: list[Tensor], done: int) -> None:
        """Raises `ValueError` for tensors that are not those of this φ."""
        if type(done) is not int or done < 0:
            raise ValueError("slow weights of no step")
        if [tensor.shape for tensor in tensors] != [tensor.shape for tensor in self.tensors]:
            raise ValueError("slow weights of another φ")
        for slow, saved in zip(self.tensors, tensors, strict=True):
            slow.copy_(saved)
        self.done = done
