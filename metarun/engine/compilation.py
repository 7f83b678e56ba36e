"""When to compile the meta-step, and whether to trust it."""

import logging
from dataclasses import replace

import torch
from torch import Tensor
from torch.func import functional_call
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from metarun.engine.evaluation import Evaluator
from metarun.engine.fusion import records
from metarun.engine.meta_gradient import MetaGradient
from metarun.learner import Learner, MetaParameters
from metarun.models.normalisation import Context
from metarun.tasks import TaskBatch

log = logging.getLogger(__name__)

COMPILE_SECONDS = 60.0
"""What compiling costs, first time, for the usual networks: 20 to 70 s were measured on two cores."""
SAVED_PER_PASS = 1e-3
"""Seconds saved on each pass through a small network, where launching operations is the cost."""
SAVED_PER_FLOP = 5e-12
"""Seconds saved for each operation of forward arithmetic, by fusing what lies between convolutions: a tenth of what
was measured for the Omniglot experiment on two cores, so that only long runs wait for a compiler."""
BEGINNING_AND_END = (0.0, 0.999)
"""Shares of meta-training at which they are compared: what is annealed is one thing at first and another at last."""
TOLERANCE = {torch.float32: 1e-2, torch.float64: 1e-7}
"""Largest difference between compiled and eager meta-gradient, relative to the gradient's norm.

Second-order gradients amplify rounding, which is why float32 has room; a gradient that lacks a term is off by more.
Where the task model computes in less, compiled and eager are each compared with the eager gradient in full precision.
"""
SAME = {torch.bfloat16: 3e-2, torch.float32: 1e-2, torch.float64: 1e-7}
"""Largest difference between the means of a metric over a batch, compiled and eager, where the metric is about 1."""
ROOM = 1.5
"""How many times as far from full precision as the eager gradient the compiled one may be, there."""


def pays(learner: Learner, batch: TaskBatch, inner_steps: int, times: int) -> bool:
    """Whether compiling saves more than it costs over ``times`` computations on batches like this one.

    A rule over configuration and shapes alone, never a timing: the same run must make the same choice anywhere.
    """
    x, network = batch.support.x[0], learner.model.network
    theta = {name: parameter.detach() for name, parameter in network.named_parameters()}
    with FlopCounterMode(display=False) as counter:
        functional_call(network, theta, (x, Context()))
    per_example = counter.get_total_flops() / len(x)
    tasks, support = batch.support.y.shape[:2]
    examples = tasks * (inner_steps * support + batch.query.y.shape[1])
    return times * ((inner_steps + 1) * SAVED_PER_PASS + examples * per_example * SAVED_PER_FLOP) > COMPILE_SECONDS


def compiled_if_equal(learner: Learner, eager: MetaGradient, phi: MetaParameters, batch: TaskBatch) -> MetaGradient:
    """The compiled meta-gradient if it can be had and computes what the eager one does on ``batch``; else ``eager``."""
    log.info("compiling the meta-step: a minute or so, less the next time")
    torch.compiler.reset()  # its count of variants runs over jobs of one process, and ends in going on uncompiled
    compiled = MetaGradient(learner, eager.chunk, compiled=True)
    reduced = learner.model.compute is not None
    precise = replace(learner, model=replace(learner.model, compute=None))
    exact = MetaGradient(precise, eager.chunk, compiled=False) if reduced else eager
    for progress in BEGINNING_AND_END * _rounds():
        try:
            gradient, _ = compiled(phi, batch, progress)
        except Exception as error:  # whatever a compiler may raise, the run can do without it
            log.info("compiling failed, going on without (%s)", str(error).partition("\n")[0])
            return eager
        wanted, _ = exact(phi, batch, progress)
        difference = apart(gradient, wanted)
        allowed = (
            ROOM * apart(eager(phi, batch, progress)[0], wanted) if reduced else TOLERANCE[tree_leaves(wanted)[0].dtype]
        )
        if not difference <= allowed:
            log.info(
                "the compiled meta-gradient differs from the eager one by %.1e of its norm: going on without",
                difference,
            )
            return eager
    return compiled


def evaluates_alike(eager: Evaluator, phi: MetaParameters, batch: TaskBatch) -> bool:
    """Whether the compiled evaluation can be had, and measures on ``batch`` what the eager one does."""
    log.info("compiling the evaluation: a minute or so, less the next time")
    compiled = Evaluator(eager.learner, eager.chunk, compiled=True)
    for whole in (False, True) * _rounds():
        wanted = eager.curves(phi, batch, whole).metrics
        try:
            found = compiled.curves(phi, batch, whole).metrics
        except Exception as error:  # as above
            log.info("compiling the evaluation failed, going on without (%s)", str(error).partition("\n")[0])
            return False
        for name, values in wanted.items():
            difference, size = (found[name] - values).mean().abs(), values.abs().mean()
            if not difference <= SAME[eager.learner.model.compute or values.dtype] * (1 + size):
                log.info("the compiled evaluation's %s differs by %.1e: going on without", name, difference)
                return False
    return True


def _rounds() -> int:
    """How often to compare: CUDA graphs are warmed up at the first call, recorded at the second, replayed at others."""
    return 3 if records() else 1


def apart(one: MetaParameters, other: MetaParameters) -> Tensor:
    """The norm of the difference, relative to the norm of the other."""
    pairs = list(zip(tree_leaves(one), tree_leaves(other), strict=True))
    difference = torch.stack([(left - right).norm() for left, right in pairs]).norm()
    return difference / torch.stack([right.norm() for _, right in pairs]).norm()
