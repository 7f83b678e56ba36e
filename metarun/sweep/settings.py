"""Settings that all sweeps share: the keys of ``conf/sweep/*.yaml``."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from metarun.config.hydra import ConfigLoaderImpl
from metarun.core.fields import choice, number
from metarun.sweep.folder import SweepFolder
from metarun.sweep.search import Search
from metarun.sweep.space import SweepCommand


@dataclass(kw_only=True)
class SweepSettings(ABC):
    """A way to choose a sweep's jobs.

    invalid: whether jobs whose parts do not go together are left out, or the sweep is refused.
    parallel: jobs at once, with a launcher that can. objective: the meta-val metric to judge by, ``None``: each run's
    own.
    """

    on_failure: str = choice("continue", "stop")
    invalid: str = choice("skip", "fail")
    parallel: int = number(least=1, most=10_000)
    objective: str | None

    @abstractmethod
    def search(self, command: SweepCommand, loader: ConfigLoaderImpl, algorithm: str) -> Search:
        """The jobs that a command asks for, where ``algorithm`` is its option. Raises `UserError`."""

    def opened(self, search: Search, folder: SweepFolder, higher_is_better: bool) -> None:
        """Take up what an earlier start left in the sweep's folder. Raises `UserError` if it was another sweep."""
        return None
