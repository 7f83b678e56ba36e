"""Parsing the command line: Hydra's flags, and overrides as they may be typed."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from metarun.config.hydra import get_args_parser
from metarun.config.quoting import with_plain_paths
from metarun.config.zipped_keys import with_single_choices_apart
from metarun.core.errors import UserError
from metarun.setup import user_parts

_NOT_READ = {
    "config_name": "metarun has one configuration; save settings as an experiment/NAME.yaml and give --config-dir",
    "config_path": "metarun has its own configuration; add yours with --config-dir FOLDER",
    "experimental_rerun": "continue a run with resume=RUN_DIR, or repeat its test with mode=test checkpoint=RUN_DIR",
}
"""Flags of Hydra's that mean nothing here, and what to do instead."""


def parsed(arguments: Sequence[str]) -> Namespace:
    """The flags, with the overrides in Hydra's grammar; the folder of the user's own parts can be imported from.

    Raises `UserError`.
    """
    flags = parser().parse_intermixed_args(arguments)
    for name, instead in _NOT_READ.items():
        if getattr(flags, name) is not None:
            raise UserError(f"--{name.replace('_', '-')}: not supported; {instead}")
    if flags.multirun and flags.cfg:
        raise UserError("--cfg shows one run's settings; leave out -m")
    if flags.resolve and not flags.cfg:
        raise UserError("--resolve: add --cfg job")
    flags.overrides = with_single_choices_apart(with_plain_paths(flags.overrides, sweep=flags.multirun))
    if flags.config_dir is not None:
        if not Path(flags.config_dir).is_dir():
            raise UserError(f"--config-dir {flags.config_dir}: no such folder")
        user_parts.find(flags.config_dir)
    return flags


def parser() -> ArgumentParser:
    """Hydra's parser; what it refuses is a `UserError`."""

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message} (metarun --hydra-help lists the flags)")

    made = get_args_parser()
    made.error = refuse  # type: ignore[method-assign]
    return made
