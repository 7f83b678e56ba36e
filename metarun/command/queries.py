"""Commands that only print: help, the configuration (``--cfg``), completion, Hydra's flags."""

import os
from argparse import Namespace

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from metarun.command.completion import candidates
from metarun.command.flags import parser
from metarun.command.help import help_text
from metarun.config.auto_defaults import as_comments, auto_values
from metarun.config.compose import CONFIG_NAME, CONFIG_PATH, explained
from metarun.config.hydra import run_hydra
from metarun.core.names import shown

_QUERIES = (["query=bash"], ["query=zsh"], ["query=fish"])


def is_query(flags: Namespace) -> bool:
    """Whether the command only prints."""
    return bool(flags.help or flags.hydra_help or flags.shell_completion or flags.info or flags.cfg)


def answer(flags: Namespace) -> None:
    """Answer all but ``--cfg``, which needs a composed configuration. Raises `UserError`."""
    if flags.help:
        print(help_text(flags.overrides, flags.config_dir))
    elif flags.shell_completion and flags.overrides[:1] in _QUERIES:
        separator = "\n" if flags.overrides[0].endswith("fish") else " "
        print(separator.join(candidates(os.environ.get("COMP_LINE", ""))))
    else:
        _by_hydra(flags)


def show(flags: Namespace, config: DictConfig) -> None:
    """Print what Hydra composes (``--cfg``); of a job, with the values of what is ``auto`` and where they come from."""
    found = auto_values(config, config.hydra.runtime.choices) if flags.cfg == "job" else {}
    flags.overrides = [*flags.overrides, *(f"{key}={shown(value)}" for key, (value, _) in found.items())]
    _by_hydra(flags)
    if flags.package is None:
        print("\n".join(as_comments(found)), end="\n" if found else "")


def _by_hydra(flags: Namespace) -> None:
    try:
        run_hydra(
            args=flags,
            args_parser=parser(),
            task_function=lambda config: None,
            config_path=CONFIG_PATH,
            config_name=CONFIG_NAME,
        )
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise explained(error) from error
