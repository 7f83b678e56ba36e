"""The methods that ``hpo.methods`` names."""

from collections.abc import Mapping, Sequence

from metarun.core.errors import UserError
from metarun.core.names import listed, nearest
from metarun.hpo.history import History
from metarun.hpo.methods.base import Method
from metarun.hpo.methods.bayesian import Bayesian
from metarun.hpo.methods.nearest import NearestTasks
from metarun.hpo.methods.portfolio import Portfolio
from metarun.hpo.methods.random import RandomSearch
from metarun.hpo.settings import HpoSettings
from metarun.hpo.surrogates.base import Surrogate
from metarun.hpo.surrogates.gaussian_process import GaussianProcess
from metarun.hpo.surrogates.rgpe import RGPE
from metarun.hpo.surrogates.tst_r import TSTR

LEARNED, ENSEMBLE = "learned", "ensemble"
"""The methods whose surrogates are meta-learners."""
BASELINES = ("random", "gp", "gp_warm", "portfolio", "nearest", "rgpe", "tst_r")


def refuse_unknown(settings: HpoSettings) -> None:
    """Raise `UserError` for unknown or repeated names of methods, and for fewer than two."""
    known = (LEARNED, ENSEMBLE, *BASELINES)
    for place, name in enumerate(settings.methods):
        if name not in known:
            raise UserError(f"hpo.methods: no method '{name}'{nearest(name, known)} (methods: {listed(known)})")
        if name in settings.methods[:place]:
            raise UserError(f"hpo.methods: '{name}' is listed twice")
    if len(settings.methods) < 2:
        raise UserError("hpo.methods: at least two methods are needed, to be compared")
    if ENSEMBLE in settings.methods and not settings.ensemble:
        raise UserError("hpo.methods: ensemble needs hpo.ensemble=[RUN_FOLDER], the runs that join the present one")


def methods(settings: HpoSettings, history: History, learned: Mapping[str, Surrogate]) -> dict[str, Method]:
    """The methods by name. learned: the surrogates that are meta-learners, by the name of their method.

    Methods that know past tasks, but for ``nearest``, begin with the first configuration of the portfolio.
    """
    portfolio, acquire = Portfolio(history, settings.trials), settings.acquire()

    def made(name: str) -> Method:
        if name == "random":
            return RandomSearch()
        if name == "portfolio":
            return portfolio
        if name == "nearest":
            return NearestTasks(history)
        if name == "gp":
            return Bayesian(GaussianProcess(history.x), acquire, RandomSearch(), settings.initial)
        if name == "gp_warm":
            return Bayesian(GaussianProcess(history.x), acquire, portfolio, settings.initial)
        if name == "rgpe":
            return Bayesian(RGPE(history, settings.source_points), acquire, portfolio, 1)
        if name == "tst_r":
            return Bayesian(TSTR(history, settings.source_points), acquire, portfolio, 1)
        return Bayesian(learned[name], acquire, portfolio, 1)

    return {name: made(name) for name in settings.methods}


def needed(settings: HpoSettings) -> Sequence[str]:
    """The methods among those chosen whose surrogates are meta-learners."""
    return [name for name in settings.methods if name in (LEARNED, ENSEMBLE)]
