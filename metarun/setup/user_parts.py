"""Parts that are the user's own: where their modules are found, what they must have, and whose mistake an error is."""

import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any

from metarun.config.groups import PARTS, TESTS
from metarun.config.quoting import CONFIG_DIR
from metarun.core.errors import Interrupted, UserCodeError, UserError
from metarun.setup.check import check
from metarun.setup.settings import Settings

_OFFERS = {"dataset": "load", "model": "build", "embedding": "build", "hypernet": "build", "algorithm": "predict"}
"""The method by which a part of each group is used."""


def find(config_dir: str) -> None:
    """Let modules be imported from the folder one stands in, and from the one that ``config_dir`` is in.

    Of a ``config_dir`` in a package, it is the folder that the package is in. Both come last, so that they hide nothing
    that is installed.
    """
    above = Path(config_dir).resolve().parent
    while (above / "__init__.py").is_file():
        above = above.parent
    sys.path += [place for place in dict.fromkeys((str(Path.cwd()), str(above))) if place not in sys.path]


def checked(plain: dict[str, Any], config_dir: str | None) -> Settings:
    """`metarun.setup.check.check`, for parts that may be the user's own, from ``config_dir``. Raises `UserError`."""
    with blaming(plain):
        settings = check(plain)
        refuse_incomplete(settings)
    if config_dir is not None:
        settings.plain[CONFIG_DIR] = str(Path(config_dir).resolve())
    return settings


def packages(plain: Mapping[str, Any]) -> set[str]:
    """The packages, other than metarun, whose classes a composed configuration names."""
    nodes = [*(plain.get(group) for group in PARTS), *(plain.get(TESTS) or {}).values()]
    targets = (node.get("_target_") for node in nodes if isinstance(node, Mapping))
    return {target.partition(".")[0] for target in targets if isinstance(target, str)} - {"metarun"}


def user_groups(settings: Settings) -> set[str]:
    """The groups whose parts are of classes that are not metarun's."""
    return {group for group in PARTS if is_user_part(getattr(settings, group))}


def is_user_part(part: object) -> bool:
    """Whether a part is of a class that is not metarun's."""
    return type(part).__module__.partition(".")[0] != "metarun"


@contextmanager
def blaming(plain: Mapping[str, Any]) -> Iterator[None]:
    """Within, an error that comes out of the user's own code becomes an `UserCodeError` that names file and line.

    Another one that a run with parts of the user's own meets is passed on with a note that says whose it may be.
    """
    try:
        yield
    except (UserError, Interrupted):
        raise
    except Exception as error:
        user = packages(plain)
        place = _place(error, user)
        if place is None:
            if user:
                error.add_note(f"metarun's or one of {', '.join(sorted(user))}, which this run uses")
            raise
        raise UserCodeError(f"an error in your code, {place}: {type(error).__name__}: {error}") from error


def _place(error: Exception, user: set[str]) -> str | None:
    """The innermost file and line of the user's own packages that an error came through, if there is one."""
    place = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if str(frame.f_globals.get("__name__")).partition(".")[0] in user:
            place = f"{frame.f_code.co_filename}, line {line}"
    return place


def refuse_incomplete(settings: Settings) -> None:
    """Refuse parts of the user's own that lack what their group is used by. Raises `UserError`."""
    choices = settings.plain["choices"]
    parts = [(group, f"{group}={choices.get(group)}", getattr(settings, group)) for group in _OFFERS]
    tests = [("dataset", f"{TESTS}.{name}", config) for name, config in settings.test_dataset.items()]
    for group, where, part in (*parts, *tests):
        kind, method = type(part), _OFFERS[group]
        if not callable(getattr(kind, method, None)):
            raise UserError(
                f"{where}: {kind.__module__}.{kind.__qualname__} has no method '{method}', which a {group} "
                "needs; derive from one of metarun's classes"
            )
        if group == "dataset" and "episode_seed" not in signature(part.load).parameters:
            raise UserError(
                f"{where}: its method 'load' takes no episode_seed; write "
                "load(self, seed, device, dtype, episode_seed=0), and draw the tasks of val, test and train_eval by "
                "that"
            )
