"""Every combination of the values typed."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from metarun.config.hydra import ConfigLoaderImpl
from metarun.core.errors import UserError
from metarun.sweep.names import job_name
from metarun.sweep.search import Proposal, Search
from metarun.sweep.settings import SweepSettings
from metarun.sweep.space import SweepCommand


@dataclass(kw_only=True)
class Grid(SweepSettings):
    """The keys of ``conf/sweep/grid.yaml``."""

    def search(self, command: SweepCommand, loader: ConfigLoaderImpl, algorithm: str) -> "GridSearch":
        return GridSearch(command)


class GridSearch(Search):
    """All combinations at once, the last key typed varying fastest."""

    def __init__(self, command: SweepCommand) -> None:
        for override in command.swept.values():
            if not override.is_discrete_sweep():
                raise UserError(
                    f"{override.input_line}: a grid takes single values, as in {override.get_key_element()}=0.1,0.2; "
                    "intervals are for sweep=random and sweep=optuna"
                )
        self.keys = tuple(command.swept)
        axes = [command.rows(key) for key in command.leaders()]
        rows = [{key: value for part in parts for key, value in part.items()} for parts in product(*axes)]
        jobs = [
            Proposal(job_name(row), command.constants, [f"{key}={value}" for key, value in row.items()]) for row in rows
        ]
        self._left = list({job.name: job for job in jobs}.values())
        self.total = len(self._left)

    def ask(self) -> Sequence[Proposal]:
        jobs, self._left = self._left, []
        return jobs
