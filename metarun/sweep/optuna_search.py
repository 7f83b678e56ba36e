"""Trials proposed by Optuna (Akiba et al. 2019), which learns from those before; kept in a SQLite file."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from metarun.config.hydra import ConfigLoaderImpl
from metarun.core.errors import UserError
from metarun.core.fields import number
from metarun.sweep.folder import SweepFolder
from metarun.sweep.random_search import Random
from metarun.sweep.search import INVALID, SEED, JobOutcome, Proposal, Search, finite
from metarun.sweep.space import Choice, Dimension, SweepCommand, searched
from metarun.sweep.trials import jobs_of, single_keys

if TYPE_CHECKING:
    import optuna

STUDY = "study.db"
NAME = "metarun"


@dataclass(kw_only=True)
class Optuna(Random):
    """The keys of ``conf/sweep/optuna.yaml``."""

    startup_trials: int = number(least=1, most=100_000)

    def search(self, command: SweepCommand, loader: ConfigLoaderImpl, algorithm: str) -> "OptunaSearch":
        try:
            import optuna  # noqa: F401
        except ImportError as error:
            raise UserError("sweep=optuna needs Optuna: pip install 'metarun[optuna]'; or use sweep=random") from error
        dimensions, fixed = searched(command, self.space or algorithm, loader)
        return OptunaSearch(dimensions, [*command.constants, *fixed], command.seeds, self)

    def opened(self, search: Search, folder: SweepFolder, higher_is_better: bool) -> None:
        assert isinstance(search, OptunaSearch)
        search.open(folder, higher_is_better)


class OptunaSearch(Search):
    """As many trials at once as there are jobs at once; the study knows all that were before.

    A trial that has begun and not ended, because the sweep was killed, is proposed again, with its values.
    """

    tolerant = True

    def __init__(
        self, dimensions: Mapping[str, Dimension], fixed: Sequence[str], seeds: Sequence[str], settings: Optuna
    ) -> None:
        self.keys = (*single_keys(dimensions), *[SEED] * bool(seeds))
        self.total = settings.trials * max(1, len(seeds))
        self._dimensions, self._fixed, self._seeds, self._settings = dimensions, list(fixed), list(seeds), settings
        self._study: optuna.Study | None = None
        self._asked: list[Proposal] = []

    def open(self, folder: SweepFolder, higher_is_better: bool) -> None:
        """Open the folder's study, or begin one. Raises `UserError` for one of another problem."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        file = folder.path / STUDY
        try:
            self._study = study = optuna.create_study(
                study_name=NAME,
                storage=f"sqlite:///{file}",
                direction="maximize" if higher_is_better else "minimize",
                load_if_exists=True,
            )
            self._check_problem(study)
            # Another seed at each start, or the draws of the first start would come again.
            seed = (self._settings.draws, len(study.get_trials(deepcopy=False)))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.sampler = optuna.samplers.TPESampler(
                    n_startup_trials=self._settings.startup_trials,
                    constant_liar=self._settings.parallel > 1,
                    seed=int(np.random.SeedSequence(seed).generate_state(1)[0]),
                )
        except UserError:
            raise
        except Exception as error:  # SQLAlchemy's and Optuna's, for a file that is broken or of another program
            raise UserError(f"{file}: cannot be used as a study: {str(error).splitlines()[0]}") from error

    def _check_problem(self, study: "optuna.Study") -> None:
        dimensions = {key: repr(one) for key, one in self._dimensions.items()}
        problem = {
            "dimensions": dimensions,
            "fixed": self._fixed,
            "seeds": self._seeds,
            "objective": self._settings.objective,
        }
        if study.user_attrs.get("problem", problem) != problem:
            raise UserError(
                "hydra.sweep.dir: its folder holds a search of another space, with other settings or for another "
                "objective; choose another folder, or give what was given there"
            )
        study.set_user_attr("problem", problem)

    def ask(self) -> Sequence[Proposal]:
        assert self._study is not None
        trials = self._study.get_trials(deepcopy=False)
        # One that was killed while it was being proposed has not all its values.
        whole = [trial for trial in trials if self._is_whole(trial)]
        begun = [(trial.number, trial.params) for trial in whole if not trial.state.is_finished()]
        left = min(self._settings.parallel - len(begun), self._settings.trials - len(whole))
        for _ in range(max(0, left)):
            asked = self._study.ask()
            begun.append((asked.number, {key: _suggested(asked, key, one) for key, one in self._dimensions.items()}))
        self._asked = [job for number, values in begun for job in self._jobs(number, values)]
        return self._asked

    def _is_whole(self, trial: "optuna.trial.FrozenTrial") -> bool:
        return trial.params.keys() == self._dimensions.keys()

    def _jobs(self, number: int, values: Mapping[str, Any]) -> list[Proposal]:
        return jobs_of(number, values, self._fixed, self._seeds)

    def earlier(self) -> Sequence[Proposal]:
        assert self._study is not None
        trials = self._study.get_trials(deepcopy=False)
        ended = [trial for trial in trials if trial.state.is_finished() and self._is_whole(trial)]
        return [job for trial in ended for job in self._jobs(trial.number, trial.params)]

    def tell(self, outcomes: Mapping[str, JobOutcome]) -> None:
        import optuna

        assert self._study is not None
        for trial in dict.fromkeys(job.trial for job in self._asked):
            found = [outcomes[job.name] for job in self._asked if job.trial == trial]
            if any(outcome.state not in ("done", "failed", INVALID) for outcome in found):
                continue  # the sweep was stopped; the trial is proposed again
            values = [outcome.value for outcome in found if finite(outcome) and outcome.value is not None]
            if len(values) == len(found):
                self._study.tell(trial, fmean(values))
            else:
                self._study.tell(trial, state=optuna.trial.TrialState.FAIL)


def _suggested(trial: "optuna.Trial", key: str, dimension: Dimension) -> Any:
    if isinstance(dimension, Choice):
        return trial.suggest_categorical(key, dimension.values)
    if dimension.whole:
        return trial.suggest_int(key, int(dimension.low), int(dimension.high), log=dimension.log)
    return trial.suggest_float(key, dimension.low, dimension.high, log=dimension.log)
