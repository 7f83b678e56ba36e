"""The settings of a saved run again, as if a command line had chosen them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from hydra.core.global_hydra import GlobalHydra

from metarun.config.compose import compose, plain
from metarun.config.quoting import quoted
from metarun.core.errors import UserError
from metarun.setup import user_parts
from metarun.setup.check import check
from metarun.setup.saved import as_overrides
from metarun.setup.settings import Settings

_ONE_AT_A_TIME = Lock()


def settings_of(config: Any, file: Path, device: str, config_dir: str | None = None) -> Settings:
    """What ``mode=test checkpoint=file device.name=device`` would run with, ``config`` being what the file holds.

    Raises `UserError` where that is no configuration, or no longer fits this version's options.
    """
    if config_dir is not None:
        if not Path(config_dir).is_dir():
            raise UserError(f"config_dir={config_dir}: no such folder")
        user_parts.find(config_dir)
    overrides = [
        *as_overrides(config, str(file), config_dir, tests=False),
        *("mode=test", f"checkpoint={quoted(str(file))}", f"device.name={quoted(device)}"),
    ]
    with _own_hydra():
        composed = compose(overrides, config_dir)
        values = plain(composed, composed.hydra.runtime.choices)
    with user_parts.blaming(values):
        settings = check(values)
    user_parts.refuse_incomplete(settings)
    return settings


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Hydra is one for a whole process; one that a caller has begun is put back."""
    with _ONE_AT_A_TIME:
        theirs = GlobalHydra.instance().hydra
        GlobalHydra.instance().clear()
        try:
            yield
        finally:
            GlobalHydra.instance().hydra = theirs
