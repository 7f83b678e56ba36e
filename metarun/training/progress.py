"""Progress of meta-training: a bar on a terminal, plain lines elsewhere, curves in TensorBoard."""

import logging
import sys
from math import isfinite
from typing import Any, Self

import torch
from torch import Tensor
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from metarun.datasets.base import Dataset
from metarun.engine.evaluation import EvaluationResult
from metarun.inspection import figures
from metarun.runs.board import Board
from metarun.runs.numbers import decimal

log = logging.getLogger(__name__)

MOST_TOLD = 12
"""Maximum number of groups whose metrics are listed in a line."""


class TrainingLog:
    """A context: within, lines of the log stand above the progress bar.

    metric: the metric shown. every: meta-updates between logged means of the meta-training metrics.
    sequence: whether groups are learned one after another, so that no state is the best. forgetting: whether the board
    gets the forgetting matrix then.
    """

    def __init__(
        self,
        board: Board,
        metric: str,
        steps: int,
        begun: int,
        every: int,
        sequence: bool = False,
        forgetting: bool = False,
    ) -> None:
        self._board, self._metric, self._steps, self._every, self._sequence = board, metric, steps, every, sequence
        self._forgetting = forgetting
        self._window: list[dict[str, Tensor]] = []
        self._latest: dict[str, float] = {}
        self._bar = tqdm(desc="meta-train", total=steps, initial=begun, disable=None, unit="step", leave=False)
        self._redirect = logging_redirect_tqdm() if sys.stderr.isatty() and _tells() else None

    def step(self, step: int, metrics: dict[str, Tensor], lr: float, norm: Tensor, speed: float | None) -> None:
        """After meta-update ``step``: its mean metrics over tasks, outer step size, gradient norm, tasks per second."""
        self._bar.update()
        self._window.append(metrics)
        if not self.due(step):
            return
        # Terms of Ω may begin or end within the window. One number comes from the device, not one for each step.
        found = {name: torch.stack([step[name] for step in self._window if name in step]).mean() for name in metrics}
        *values, size = torch.stack([value.double() for value in (*found.values(), norm)]).tolist()
        means = dict(zip(found, values, strict=True))
        self._window.clear()
        self._latest |= {name: means[name] for name in {"loss", self._metric} & means.keys()}
        self._board.scalars("meta-train", means, step)
        self._board.scalars("outer-loop", {"lr": lr, "gradient_norm": size}, step)
        if speed is not None:
            self._board.scalars("speed", {"tasks_per_second": speed}, step)
            self._latest["tasks/s"] = speed
        self._bar.set_postfix({name: f"{value:.4g}" for name, value in self._latest.items()}, refresh=False)

    def due(self, step: int) -> bool:
        """Whether means are logged after this meta-update."""
        return step % self._every == 0 or step == self._steps

    def validated(self, step: int, episodes: EvaluationResult, metric: str, best: bool) -> None:
        """After a validation at meta-update ``step``."""
        figures = {name: episodes.mean(name) for name in episodes.curves} | episodes.pooled
        self._board.scalars("meta-val", figures, step)
        summary = episodes.summary()[metric]
        self._latest["val"] = summary["mean"]
        trained = f"meta-train {decimal(self._latest[metric])}  " if metric in self._latest else ""
        speed = f"  {self._latest['tasks/s']:,.0f} tasks/s" if "tasks/s" in self._latest else ""
        mark = "" if self._sequence else " (best)" if best else "       "
        log.info(
            f"step {step:>{len(f'{self._steps:,}')},} of {self._steps:,}  {metric}  {trained}"
            f"meta-val {decimal(summary['mean'])}{_margin(summary['ci95'])}{mark}{speed}"
        )

    def warned(self, line: str) -> None:
        """After a validation that shows that something goes wrong."""
        log.warning(line)

    def learned(self, step: int, dataset: Dataset, matrix: list[list[float]]) -> None:
        """After the last meta-update on a group: how well every group is known by now."""
        if self._forgetting:
            self._board.figure(
                f"forgetting/{self._metric}",
                lambda: figures.forgetting_figure(dataset.groups, matrix, self._metric),
                step,
            )
        group, metric = dataset.groups[len(matrix) - 1], self._metric
        if len(dataset.groups) > MOST_TOLD:
            behind = matrix[-1][: len(matrix)]
            known = f"mean {metric} of the {len(behind)} groups so far {sum(behind) / len(behind):.4g}"
        else:
            each = (f"{name} {value:.4g}" for name, value in zip(dataset.groups, matrix[-1], strict=True))
            known = f"{metric} of each group: {'  '.join(each)}"
        log.info(f"step {step:,}: learned {group}; {known}")

    def profiled(self, summary: str, table: str) -> None:
        """After the meta-updates that were profiled."""
        self._board.text("profile", lambda: f"```\n{table}```")
        log.info(summary)

    def __enter__(self) -> Self:
        if self._redirect is not None:
            self._redirect.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.close()
        if self._redirect is not None:
            self._redirect.__exit__(*error)


def _margin(half: float) -> str:
    return f" ± {decimal(half)}" if isfinite(half) else ""


def _tells() -> bool:
    """Whether lines of the log go to the terminal; those of a sweep's jobs don't."""
    handlers = logging.getLogger().handlers
    return any(type(handler) is logging.StreamHandler and handler.level < logging.CRITICAL for handler in handlers)


class Silence(TrainingLog):
    """The log of all processes other than the main one."""

    def __init__(self) -> None:
        pass

    def step(self, *told: Any, **by_name: Any) -> None:
        pass

    def due(self, step: int) -> bool:
        return False

    def validated(self, *told: Any, **by_name: Any) -> None:
        pass

    def warned(self, *told: Any, **by_name: Any) -> None:
        pass

    def learned(self, *told: Any, **by_name: Any) -> None:
        pass

    def profiled(self, *told: Any, **by_name: Any) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        pass
