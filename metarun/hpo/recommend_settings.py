"""Keys of ``conf/recommend/*.yaml`` and ``conf/budget/*.yaml``: how ``mode=recommend`` finds a model."""

from dataclasses import dataclass

from metarun.core.errors import UserError
from metarun.core.fields import choice, number


@dataclass(kw_only=True)
class Budget:
    """See ``conf/budget/default.yaml``."""

    trials: int = number(least=1, most=10_000)
    seconds: float | None = number(above=0)


@dataclass(kw_only=True)
class RecommendSettings:
    """See ``conf/recommend/default.yaml``."""

    kind: str | None = choice("classification", "regression")
    exclude: list[str]
    method: str = choice("learned", "portfolio", "nearest", "rgpe", "gp_warm", "gp", "random")
    folds: int = number(least=2, most=20)
    rows: int = number(least=50)
    fit_rows: int = number(least=50)
    trial_seconds: float = number(above=0)
    members: int = number(least=1, most=100)
    table: str | None
    append: bool

    def __post_init__(self) -> None:
        if self.append and self.table is None:
            raise UserError("recommend.append=true: to which table? add recommend.table=FOLDER")
