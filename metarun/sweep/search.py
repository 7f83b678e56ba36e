"""The interface of search methods."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SEED = "seed"
"""The key whose values are no other configuration, but the same again."""


INVALID = "invalid"
"""The state of a job that is left out, since its parts do not go together."""


@dataclass(frozen=True)
class Proposal:
    """A job to run: ``varied`` are the overrides in which jobs differ, ``shared`` those that all jobs have.

    trial: the search's number of it.
    """

    name: str
    shared: list[str]
    varied: list[str]
    trial: int = 0

    @property
    def overrides(self) -> list[str]:
        return [*self.shared, *self.varied]

    @property
    def configuration(self) -> str:
        """What jobs have in common that differ in their seeds alone."""
        return " ".join(text for text in self.varied if not text.startswith(f"{SEED}="))


@dataclass(frozen=True)
class JobOutcome:
    """What became of a job.

    state: ``done``, ``failed``, ``interrupted``, ``running``, ``missing`` or ``invalid``. reason: of a failure, one
    line. value: the objective, ``None`` unless done. mistake: whether a failure is the user's to mend.
    """

    state: str
    reason: str = ""
    value: float | None = None
    spread: float | None = None
    metric: str = ""
    higher_is_better: bool | None = None
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

    def earlier(self) -> Sequence[Proposal]:
        """The jobs that ended in an earlier start of the sweep and are not proposed again."""
        return ()

    def tell(self, outcomes: Mapping[str, JobOutcome]) -> None:
        """What became of the jobs last proposed, by their names."""
        return None


def finite(outcome: JobOutcome) -> bool:
    """Whether a job ended with an objective that is a number."""
    return outcome.state == "done" and outcome.value is not None and math.isfinite(outcome.value)
