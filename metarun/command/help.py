"""The text of ``metarun --help``: usage, groups with their options, and keys of the chosen options."""

from collections.abc import Mapping, Sequence
from string import Template
from textwrap import wrap

from omegaconf import OmegaConf, open_dict, read_write

from metarun.config.auto_defaults import as_comments, auto_values
from metarun.config.compose import compose, loading
from metarun.config.groups import GROUPS
from metarun.config.modes import MODES
from metarun.core.columns import columns

WIDTH = 120
"""Letters of a line."""


def help_text(overrides: Sequence[str], config_dir: str | None) -> str:
    """The help for a choice of options. Raises `UserError` where they cannot be composed."""
    config = compose(overrides, config_dir, sweep=True)
    with loading(config_dir) as loader:
        names = [*GROUPS, *(name for name in loader.list_groups("") if name not in (*GROUPS, "hydra"))]
        groups = {name: sorted(loader.get_group_options(name)) for name in names}
    text = Template(config.hydra.help.template)
    found = auto_values(config, config.hydra.runtime.choices)
    with read_write(config), open_dict(config):
        del config["hydra"]
        for key, (value, _) in found.items():
            OmegaConf.update(config, key, value)
    told = OmegaConf.to_yaml(config) + "".join(f"{line}\n" for line in as_comments(found))
    modes = columns([[name, mode.about] for name, mode in MODES.items()])
    return text.substitute(MODES=modes, APP_CONFIG_GROUPS=listed(groups), CONFIG=told)


def listed(groups: Mapping[str, Sequence[str]]) -> str:
    """Groups and their options, aligned. Groups within groups are left out: options' own files choose from them."""
    margin = max(map(len, groups)) + 2
    lines = []
    for name, options in groups.items():
        first, *more = wrap(", ".join(options), WIDTH - margin - 2, break_on_hyphens=False) or [""]
        lines += [f"  {name:{margin}}{first}", *(" " * (margin + 2) + line for line in more)]
    return "\n".join(lines)
