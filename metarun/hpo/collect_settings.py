"""Keys of ``conf/collect/*.yaml``: what ``mode=collect`` trains, and how."""

from dataclasses import dataclass

from metarun.core.fields import choice, number


@dataclass(kw_only=True)
class CollectSettings:
    """See ``conf/collect/default.yaml``."""

    path: str | None
    kind: str = choice("classification", "regression")
    models: list[str] | None
    configurations: int = number(least=1, most=1000)
    bundled: bool
    variants: int = number(least=0, most=1000)
    synthetic: int = number(least=0, most=10_000)
    tables: list[str]
    exclude: list[str]
    rows: int = number(least=50)
    folds: int = number(least=2, most=20)
    seconds: float = number(above=0)
    jobs: int | None = number(least=1)
