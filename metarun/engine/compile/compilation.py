"""Compiled computations, and whether to trust them."""

import copy
import logging
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from metarun.core.tasks import TaskBatch
from metarun.engine.compile.perturbation import perturbed
from metarun.engine.compile.rounding import NOISE, ROOM, Yardstick
from metarun.engine.evaluation import Evaluator
from metarun.engine.meta_gradient import MetaGradient
from metarun.learner.learner import Learner, MetaParameters

log = logging.getLogger(__name__)

T = TypeVar("T")

BEGINNING_AND_END = (0.0, 0.999)
"""Shares of meta-training at which they are compared: what is annealed is one thing at first and another at last."""
TOLERANCE = 1e-7
"""Largest difference in float64, relative to the norm, of each part of a meta-gradient."""
CHAOTIC = {torch.float32: 0.1, torch.bfloat16: 1.0}
"""From where on rounding changes so much of the meta-gradient that nothing can be verified."""
SAME = {torch.bfloat16: 3e-2, torch.float32: 1e-2, torch.float64: 1e-7}
"""Largest difference between the means of a metric over a batch, compiled and eager, where the metric is about 1."""


def compiled_if_equal(learner: Learner, eager: MetaGradient, phi: MetaParameters, batch: TaskBatch) -> MetaGradient:
    """The compiled meta-gradient if it can be had and computes what the eager one does on ``batch``; else ``eager``.

    They are compared away from the start φ, at which layers that begin at zero hide what lies behind them; tensor by
    tensor; and by what rounding does to the eager gradient, which is how far it is from the same gradient in float64.
    """
    log.info("compiling the meta-step: a minute or so, less the next time")
    torch.compiler.reset()  # its count of variants runs over jobs of one process, and ends in going on uncompiled
    compiled = MetaGradient(learner, eager.chunk, compiled=True)
    reference = _Reference(learner, eager, perturbed(phi), batch)
    for progress in reference.points:
        try:
            gradient, _ = compiled(reference.phi, batch, progress)
        except Exception as error:  # whatever a compiler may raise, the run can do without it
            log.info("compiling failed, going on without (%s)", str(error).partition("\n")[0])
            return eager
        if (reason := reference.refusal(gradient, progress)) is not None:
            log.info("%s: going on without", reason)
            return eager
    return compiled


class _Reference:
    """What the compiled meta-gradient should be at ``phi``, at each of ``points`` of meta-training.

    The float64 gradient is computed once, at the end, where terms that are annealed in all have a part; where nothing
    is annealed there is no other point, and the eager gradient at φ changed in its last digits is a second sample of
    what rounding does.
    """

    def __init__(self, learner: Learner, eager: MetaGradient, phi: MetaParameters, batch: TaskBatch) -> None:
        end = BEGINNING_AND_END[-1]
        self.phi, self.points = phi, BEGINNING_AND_END if annealed(learner, batch) else (end,)
        self._wanted = {progress: eager(phi, batch, progress)[0] for progress in self.points}
        self._broken: str | None = None
        dtype = learner.model.compute or batch.descriptor.dtype
        if dtype == torch.float64:
            self._yardstick = Yardstick.given(TOLERANCE, self._wanted[end])
            return
        rounded = [self._wanted[end]]
        if len(self.points) == 1:
            rounded.append(eager(perturbed(phi, torch.finfo(_dtype(phi)).eps, 0.0), batch, end)[0])
        try:
            self._wanted[end] = exact = _exact(learner, eager, phi, batch, end)
        except Exception as error:  # a part of the user's own, perhaps, that computes in one precision alone
            self._broken = f"there is no float64 to compare with ({str(error).partition(chr(10))[0]})"
            return
        self._yardstick = Yardstick.measured(rounded, exact, torch.finfo(dtype).eps)
        if not self._yardstick.relative[()] < CHAOTIC[dtype]:
            self._broken = f"rounding changes {self._yardstick.relative[()]:.1e} of the meta-gradient"

    def refusal(self, gradient: MetaParameters, progress: float) -> str | None:
        """Why a compiled gradient is not to be trusted; ``None`` if it is."""
        if self._broken is not None:
            return f"the compiled meta-gradient cannot be verified, {self._broken}"
        excess = self._yardstick.excess(gradient, self._wanted[progress])
        return None if excess is None else f"the compiled meta-gradient differs from the eager one by {excess}"


def annealed(learner: Learner, batch: TaskBatch) -> bool:
    """Whether anything other than φ changes over meta-training."""
    one, other = (learner.draws(batch, False, progress) for progress in BEGINNING_AND_END)
    return one.keys() != other.keys() or not all(torch.equal(one[name], other[name]) for name in one)


def _exact(
    learner: Learner, eager: MetaGradient, phi: MetaParameters, batch: TaskBatch, progress: float
) -> MetaParameters:
    """The meta-gradient in float64, in as much memory as in the run's precision."""
    half = max(1, (eager.chunk or len(batch.number)) // 2)
    return MetaGradient(_in_float64(learner), half, compiled=False)(_double(phi), _double(batch), progress)[0]


def _in_float64(learner: Learner) -> Learner:
    """A copy that computes in float64 throughout."""
    precise = copy.deepcopy(learner)
    for module in (precise.model.network, precise.model.algorithm_network, precise.embedding, precise.hypernet):
        module.double()
    # In place, for embeddings may hold the same task model.
    object.__setattr__(precise.model, "compute", None)
    return precise


def _double(tensors: T) -> T:
    found: T = tree_map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor, tensors)
    return found


def _dtype(phi: MetaParameters) -> torch.dtype:
    """The precision of φ."""
    dtype: torch.dtype = tree_leaves(phi)[0].dtype
    return dtype


def evaluates_alike(eager: Evaluator, phi: MetaParameters, batch: TaskBatch) -> bool:
    """Whether the compiled evaluation can be had, and measures on ``batch`` what the eager one does.

    They are compared as meta-gradients are, after every inner step; medians over the episodes, of which rounding may
    decide single ones.
    """
    log.info("compiling the evaluation: a minute or so, less the next time")
    phi, learner = perturbed(phi), eager.learner
    rounded = eager.curves(phi, batch, True).metrics
    dtype = learner.model.compute or batch.descriptor.dtype
    exact = rounded
    if dtype != torch.float64:
        try:
            half = Evaluator(_in_float64(learner), max(1, eager.chunk // 2))
            exact = half.curves(_double(phi), _double(batch), True).metrics
        except Exception as error:  # as above
            reason = str(error).partition("\n")[0]
            log.info("the compiled evaluation cannot be verified, there is no float64 (%s): going on without", reason)
            return False
    compiled = Evaluator(learner, eager.chunk, compiled=True)
    for whole in (False, True):
        try:
            found = compiled.curves(phi, batch, whole).metrics
        except Exception as error:  # as above
            log.info("compiling the evaluation failed, going on without (%s)", str(error).partition("\n")[0])
            return False
        for name in exact:
            points = slice(None) if whole else slice(-1, None)
            values, wanted, usual = (each[name].double()[:, points] for each in (found, exact, rounded))
            continuous = name in learner.model.kind.continuous
            if (difference := _too_far(continuous, values, wanted, usual, dtype)) is not None:
                log.info("the compiled evaluation's %s differs by %.1e: going on without", name, difference)
                return False
    return True


def _too_far(continuous: bool, found: Tensor, exact: Tensor, rounded: Tensor, dtype: torch.dtype) -> float | None:
    """By how much a metric ``[tasks, points]`` differs, where that is more than rounding; else ``None``.

    continuous: whether rounding changes it by as little as predictions.
    """
    size, difference = exact.abs(), (found - exact).abs()
    apart_on_average = (found - rounded).mean().abs()
    if not apart_on_average <= SAME[dtype] * (1 + rounded.abs().mean()):
        return float(apart_on_average)
    if not continuous:
        return None
    usual = (rounded - exact).abs()
    noise = NOISE * torch.finfo(dtype).eps * (1 + size.median(0).values)
    allowed = SAME[dtype] * (1 + size.median(0).values) if dtype == torch.float64 else ROOM * (usual.mean(0) + noise)
    beyond = difference.median(0).values
    return None if (beyond <= allowed).all() else float(beyond.max())


def apart(one: MetaParameters, other: MetaParameters) -> Tensor:
    """The norm of the difference, relative to the norm of the other."""
    pairs = list(zip(tree_leaves(one), tree_leaves(other), strict=True))
    difference = torch.stack([(left - right).norm() for left, right in pairs]).norm()
    return difference / torch.stack([right.norm() for _, right in pairs]).norm()
