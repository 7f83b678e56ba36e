"""Detecting meta-training that goes wrong, from its validations: one line for each cause, with the key to change."""

from dataclasses import dataclass, field, replace
from math import inf, isfinite
from typing import Any

import torch
from torch import Tensor

from metarun.algorithms.base import Algorithm, Learned
from metarun.core.intervals import paired_difference
from metarun.core.names import shown
from metarun.core.tasks import Task
from metarun.datasets.base import Dataset
from metarun.engine.evaluation import EvaluationResult
from metarun.engine.over_tasks import over_tasks
from metarun.learner.learner import Learner, MetaParameters

SEVERE = 100.0
"""From this factor on an error has exploded, if it is above that of the trivial baseline: from before to after
adaptation, from the least one so far, or from that of the baseline itself."""
HARMFUL = 2.0
"""From this factor on adaptation does harm whether or not a test finds it significant."""
SURE = 0.01
"""The p-value of a paired test below which adaptation does harm."""
STALLED = 0.1
"""A validation that comes nearer to the trivial baseline by a smaller part is no progress."""


@dataclass(frozen=True)
class Finding:
    """One line for the user. severe: whether training diverges; else it does not learn what it should."""

    line: str
    severe: bool


@dataclass
class DivergenceCheck:
    """Checks one validation after another, and reports every cause once.

    At once: episodes whose metric is not finite; an error after adaptation, or since the least one so far, that has
    grown by the factor `SEVERE`. When it lasts, which is at the second validation in a row or at the last one:
    adaptation that makes the metric worse; and a metric no better than that of the trivial baseline (the mean of the
    support set, or its most frequent class), unless it still comes nearer. A training that just begins is near that
    baseline or worse than it.

    While groups of tasks are learned one after another the error on all of them is no sign: there only what adaptation
    does, and what is not finite, is looked at before the end. What was seen before a run was resumed is not known.
    """

    learner: Learner
    dataset: Dataset
    sequential: bool
    _told: set[tuple[str, bool]] = field(default_factory=set)
    _lasting: set[str] = field(default_factory=set)
    _trivial: Tensor | None = None
    _least: tuple[float, int] = (inf, 0)
    _previous: float | None = None

    @property
    def needs_baselines(self) -> bool:
        """Whether the next validation must measure trivial baselines too; those of the fixed episodes stay the same."""
        return self._trivial is None

    def __call__(
        self, phi: MetaParameters, step: int, episodes: EvaluationResult, at_once: int, last: bool
    ) -> Finding | None:
        """What the validation at meta-update ``step`` shows, if it is new.

        episodes: as they were measured at ``phi``, the first ``at_once`` of them sampled together. last: no other
        validation follows.
        """
        kind = self.learner.problem.kind
        if self._trivial is None:
            self._trivial = episodes.baselines[kind.trivial]
        metric = kind.baseline_metric
        sign = 1 if kind.directions[metric] else -1
        after = episodes.final(metric)
        count = min(at_once, episodes.count)
        before = self._before(phi, metric, count) if self.learner.algorithm.steps(testing=True) else None
        seen = _Seen(metric, sign, step, after, before, after[:count], self._trivial, episodes.tasks, last)
        value = float(after.mean())
        found = self._not_finite(seen, episodes)
        if not isfinite(value):
            return found
        found = found or self._grown(seen) or self._harmed(seen) or self._trivially(seen)
        self._previous = value
        if value < self._least[0]:
            self._least = value, step
        return found

    def _before(self, phi: MetaParameters, metric: str, count: int) -> Tensor:
        """The metric on the first episodes before the first inner step, ``[count]``."""
        with torch.no_grad():
            batch = self.dataset.sample("val", 0, count)
            values: Tensor = over_tasks(lambda phi, task: _unadapted(self.learner, phi, metric, task))(phi, batch)
        return values.double().cpu()

    def _not_finite(self, seen: "_Seen", episodes: EvaluationResult) -> Finding | None:
        """Of any metric: classes are predicted, and counted, whatever a loss is."""
        lost = {name: int((~episodes.final(name).isfinite()).sum()) for name in (seen.metric, *episodes.curves)}
        name = next((name for name, count in lost.items() if count), None)
        if name is None:
            return None
        line = f"is not finite in {lost[name]:,} of {episodes.count:,} episodes; {self._lower(seen.before is not None)}"
        # What adaptation does to the other episodes is the same once more.
        return self._once("not finite", replace(seen, metric=name), line, severe=True, also=("harm", "trivial"))

    def _grown(self, seen: "_Seen") -> Finding | None:
        """Errors alone: an accuracy cannot grow by orders of magnitude."""
        least, at = self._least
        value = float(seen.after.mean())
        if self.sequential or not seen.exploded(value, least):
            return None
        harmed = seen.before is not None and seen.exploded(float(seen.first.mean()), float(seen.before.mean()))
        line = f"has grown from {least:.4g} at step {at:,} to {value:.4g}; {self._lower(harmed)}"
        return self._once("grown", seen, line, severe=True, also=("trivial",))

    def _harmed(self, seen: "_Seen") -> Finding | None:
        if seen.before is None:
            return None
        before, after = float(seen.before.mean()), float(seen.first.mean())
        worse = seen.sign * (after - before) < 0
        severe = seen.exploded(after, before)
        harmed = worse and ((seen.sign < 0 and after >= HARMFUL * before) or self._surely(seen))
        if not (severe or self._lasts("harm", harmed, seen.last)):
            return None
        few = f" in the first {len(seen.first):,} episodes" if len(seen.first) < len(seen.after) else ""
        line = f"is {after:.4g} after adaptation and was {before:.4g} before it{few}; {self._lower(True)}"
        return self._once("harm", seen, line, severe, also=("trivial",))

    def _surely(self, seen: "_Seen") -> bool:
        """Whether a paired test on the same episodes finds a difference between before and after."""
        assert seen.before is not None
        p = paired_difference(seen.before.tolist(), seen.first.tolist(), seen.tasks[: len(seen.first)]).p
        return p is not None and p < SURE

    def _trivially(self, seen: "_Seen") -> Finding | None:
        trivial, value = float(seen.trivial.mean()), float(seen.after.mean())
        ahead = paired_difference((seen.sign * seen.after).tolist(), (seen.sign * seen.trivial).tolist(), seen.tasks)
        margin = (ahead.difference.half or 0.0) / 2  # one standard error, about
        behind = not ahead.difference.mean > margin
        gap = 0.0 if self._previous is None else seen.sign * (trivial - self._previous)
        nearer = gap > margin and seen.sign * (value - trivial) > -(1 - STALLED) * gap
        if not self._lasts("trivial", behind and not (self.sequential and not seen.last), seen.last, waits=nearer):
            return None
        name = self.learner.problem.kind.trivial.replace("_", " ")
        line = f"is {value:.4g}, no better than the baseline {name} with {trivial:.4g}; {self._change()}"
        return self._once("trivial", seen, line, severe=seen.exploded(value, trivial))

    def _lasts(self, cause: str, there: bool, last: bool, waits: bool = False) -> bool:
        """Whether a cause was there at the validation before too, or no other follows; ``waits``: it gets better."""
        lasts = there and (last or (cause in self._lasting and not waits))
        self._lasting = self._lasting | {cause} if there else self._lasting - {cause}
        return lasts

    def _once(self, cause: str, seen: "_Seen", line: str, severe: bool, also: tuple[str, ...] = ()) -> Finding | None:
        """The finding, unless its cause was told or it has become severe since; ``also``: causes that need not be told
        any more.
        """
        new = (cause, severe) not in self._told
        self._told |= {(cause, False), (cause, severe), *((other, how) for other in also for how in (False, True))}
        return Finding(f"step {seen.step:,}: meta-val {seen.metric} {line}", severe) if new else None

    def _lower(self, inner: bool) -> str:
        """Advice: which step size to lower."""
        keys = inner_keys(self.learner.algorithm) if inner else []
        keys = keys or self._outer() or inner_keys(self.learner.algorithm)
        return "lower " + " or ".join(keys) if keys else "scale the data"

    def _change(self) -> str:
        """Advice where the step sizes may as well be too small."""
        longer = "train longer (engine.steps)" if isinstance(self.learner.algorithm, Learned) else "adapt longer"
        keys = [*self._outer(), *inner_keys(self.learner.algorithm)]
        return f"change {' or '.join(keys)}, or {longer}" if keys else longer

    def _outer(self) -> list[str]:
        algorithm = self.learner.algorithm
        return [_now("outer.lr", algorithm.outer.lr)] if isinstance(algorithm, Learned) else []


@dataclass(frozen=True)
class _Seen:
    """One validation. after: the metric of all episodes. before, first: of the first episodes, before and after
    adaptation. trivial: of the trivial baseline on all. sign: 1 where higher is better, else -1.
    """

    metric: str
    sign: int
    step: int
    after: Tensor
    before: Tensor | None
    first: Tensor
    trivial: Tensor
    tasks: list[int]
    last: bool

    def exploded(self, value: float, reference: float) -> bool:
        """Whether a mean of the metric is by orders of magnitude above another; never where higher is better."""
        return self.sign < 0 and value >= SEVERE * reference and value > float(self.trivial.mean())


def _unadapted(learner: Learner, phi: MetaParameters, metric: str, task: Task) -> Tensor:
    """The metric on the queries of one task before its first inner step."""
    model, params, algorithm, query = learner.for_task(phi), phi["algorithm"], learner.algorithm, task.query
    state = algorithm.initial_state(params, learner.start(phi, task, testing=True))
    prediction = algorithm.predict(model, params, state, task.support, query.x, query.mask)
    return model.kind.metrics(prediction, query.y, query.mask)[metric]


def inner_keys(algorithm: Algorithm) -> list[str]:
    """The keys of an inner loop that goes too far, with their values."""
    chosen: Any = algorithm
    if not hasattr(chosen, "inner_lr") or not chosen.steps(testing=True):
        return []
    keys = [_now("inner_lr", chosen.inner_lr)]
    if chosen.steps(testing=True) > chosen.steps(testing=False) > 0:
        keys.append(_now("test_steps", chosen.test_steps))  # more than it was trained for
    return keys


def _now(key: str, value: Any) -> str:
    return f"algorithm.{key} (now {shown(value)})"
