"""Figures of a run. Each is imported when it is first drawn, for matplotlib takes a second."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metarun.inspection.figures.adaptation import adaptation_figure as adaptation_figure
    from metarun.inspection.figures.attention import attention_figure as attention_figure
    from metarun.inspection.figures.attention import queries_figure as queries_figure
    from metarun.inspection.figures.confusion import confusion_figure as confusion_figure
    from metarun.inspection.figures.embeddings import embedding_figure as embedding_figure
    from metarun.inspection.figures.examples import examples_figure as examples_figure
    from metarun.inspection.figures.fits import fits_figure as fits_figure
    from metarun.inspection.figures.forgetting import forgetting_figure as forgetting_figure
    from metarun.inspection.figures.gradients import cosine_figure as cosine_figure
    from metarun.inspection.figures.gradients import projection_figure as projection_figure

_MODULES = {
    "adaptation_figure": "adaptation",
    "attention_figure": "attention",
    "queries_figure": "attention",
    "confusion_figure": "confusion",
    "embedding_figure": "embeddings",
    "examples_figure": "examples",
    "fits_figure": "fits",
    "forgetting_figure": "forgetting",
    "cosine_figure": "gradients",
    "projection_figure": "gradients",
}


def preload() -> None:
    """Import matplotlib now, so that it does not count as the time of the first figure."""
    import_module("matplotlib.figure")


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
