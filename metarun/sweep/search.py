"""What a sweep asks of a way to choose jobs."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Proposal:
    """A job to run. ``overrides`` are all of its own, those of all jobs included; ``trial`` is the search's number."""

    name: str
    overrides: list[str]
    trial: int = 0


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    state: ``done``, ``failed``, ``interrupted``, ``running`` or ``missing``. reason: of a failure, one line. value: the
    objective, ``None`` unless done. mistake: whether a failure is the user's to mend.
    """

    state: str
    reason: str = ""
    value: float | None = None
    spread: float | None = None
    metric: str = ""
    higher_is_better: bool = True
    mistake: bool = True


class Search(ABC):
    """Proposes jobs, and may learn from what became of them."""

    keys: tuple[str, ...]
    """What differs between jobs, by its full name."""
    total: int
    """How many jobs there are in all."""
    tolerant = False
    """Whether a job may fail without the sweep having failed."""

    @abstractmethod
    def ask(self) -> Sequence[Proposal]:
        """The next jobs, to be run before it is asked again; none when the search has ended."""

    def before(self) -> int:
        """How many jobs ended in an earlier start of the sweep and are not proposed again."""
        return 0

    def tell(self, outcomes: Mapping[str, Outcome]) -> None:
        """What became of the jobs last proposed, by their names."""
        return None


def finite(outcome: Outcome) -> bool:
    """Whether a job ended with an objective that is a number."""
    return outcome.state == "done" and outcome.value is not None and math.isfinite(outcome.value)
