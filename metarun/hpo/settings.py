"""Keys of ``conf/hpo/*.yaml``: how ``mode=optimize`` compares ways to choose configurations."""

from dataclasses import dataclass

from metarun.core.errors import UserError
from metarun.core.fields import choice, number
from metarun.hpo import acquisition
from metarun.hpo.acquisition import Acquisition


@dataclass(kw_only=True)
class HpoSettings:
    """See ``conf/hpo/default.yaml``."""

    methods: list[str]
    acquisition: str = choice("expected_improvement", "confidence_bound", "thompson")
    xi: float = number(least=0)
    beta: float = number(least=0)
    trials: int = number(least=1)
    seeds: int = number(least=1)
    initial: int = number(least=1)
    report: list[int]
    source_points: int = number(least=2)
    ensemble: list[str]

    def __post_init__(self) -> None:
        if not self.report or min(self.report) < 1 or max(self.report) > self.trials:
            given = ",".join(map(str, self.report))
            raise UserError(f"hpo.report=[{given}]: numbers of trials from 1 to hpo.trials={self.trials} are expected")

    def acquire(self) -> Acquisition:
        """The acquisition function chosen."""
        if self.acquisition == "expected_improvement":
            return acquisition.expected_improvement(self.xi)
        if self.acquisition == "confidence_bound":
            return acquisition.confidence_bound(self.beta)
        return acquisition.thompson()
