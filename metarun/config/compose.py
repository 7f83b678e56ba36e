"""Hydra's composition, with each of its complaints as one line for the user."""

import contextlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError
from yaml.error import MarkedYAMLError

from metarun.config.auto_defaults import resolve_auto
from metarun.config.groups import GROUPS, PARTS, ROOT_KEYS, SWEEP, TESTS, full_names
from metarun.config.hydra import ConfigLoaderImpl, Hydra, create_automatic_config_search_path
from metarun.config.quoting import setting, suggestion, to_paste
from metarun.config.zipped_keys import keys_of, separate
from metarun.core.errors import UserError
from metarun.core.names import unknown_key, unknown_option, unknown_root

CONFIG_PATH = "pkg://metarun.conf"
CONFIG_NAME = "config"
NOT_OF_A_RUN = ("hydra", "sweep")
"""What is composed beside a run's configuration."""


def parse(overrides: Sequence[str]) -> list[Override]:
    """The overrides of a command line, parsed. Raises `UserError` for the first invalid one.

    Keys that are swept together (`metarun.config.zipped_keys`) have one override each, all with the line as typed.
    """
    parsed = []
    for text in overrides:
        if "=" not in text and not text.startswith("~"):
            raise UserError(f"{text}: no value given; write {text}=VALUE")
        try:
            together = separate(text) if keys_of(text) else [text]
            found = OverridesParser.create().parse_overrides(together)
        except OverrideParseException as error:
            reason = str(error.message).splitlines()[0]
            better = suggestion(text)
            hint = f"; if the value is text, quote it for Hydra and the shell: {better}" if better else ""
            raise UserError(f"{text}: not a setting of the form key=value ({reason}){hint}") from error
        # Several choices are several only together: the line is that of all their keys.
        parsed += [replace(one, input_line=text) if one.is_sweep_override() else one for one in found]
    return parsed


@contextlib.contextmanager
def loading(config_dir: str | None) -> Iterator[ConfigLoaderImpl]:
    """Hydra's loader of metarun's configuration files, and of those in ``config_dir``. Raises `UserError`."""
    search_path = create_automatic_config_search_path(None, None, CONFIG_PATH)
    if config_dir is not None:
        if not Path(config_dir).is_dir():
            raise UserError(f"--config-dir {config_dir}: no such folder")
        search_path.prepend("command-line", f"file://{Path(config_dir).resolve()}", SearchPathQuery(provider="schema"))
    loader = Hydra.create_main_hydra2(task_name="metarun", config_search_path=search_path).config_loader
    assert isinstance(loader, ConfigLoaderImpl)
    try:
        yield loader
    finally:
        GlobalHydra.instance().clear()


def compose(overrides: Sequence[str], config_dir: str | None = None, *, sweep: bool = False) -> DictConfig:
    """The configuration that Hydra composes, its own settings under ``hydra`` included.

    With ``sweep``, several values for a key are allowed and the first of each is taken.

    Raises `UserError` for whatever Hydra refuses.
    """
    parsed = parse(overrides)
    with loading(config_dir) as loader:
        _check_names(parsed, loader, sweep=sweep)
        single = [text for override in parsed for text in first_value(override)]
        try:
            return _load(loader, single)
        except (HydraException, OmegaConfBaseException, YAMLError, UnicodeDecodeError, ValueError) as error:
            _explain_unknown_keys(parsed, loader)
            raise explained(error) from error


def plain(config: DictConfig, choices: Mapping[str, str | None]) -> dict[str, Any]:
    """A composed configuration of one run, resolved into builtin types, the ``choices`` added.

    Keys with the value ``auto`` get one from other parts (`metarun.config.auto_defaults`). Hydra's part and the sweep's
    are left out: they say nothing of the run.

    Raises `UserError` for a value that is missing or an interpolation that fails.
    """
    task = config.copy()
    with read_write(task), open_dict(task):
        for name in NOT_OF_A_RUN:
            task.pop(name, None)
    try:
        values = OmegaConf.to_container(task, resolve=True, throw_on_missing=True, enum_to_str=True)
    except OmegaConfBaseException as error:
        raise explained(error) from error
    assert isinstance(values, dict)
    # Which test_dataset=[…] was typed: its data sets have choices of their own (`option_of_test`).
    named = {name: choice for name, choice in choices.items() if name.split("/")[0] not in (*NOT_OF_A_RUN, TESTS)}
    content = {str(name): value for name, value in values.items()} | {"choices": named}
    resolve_auto(content, named)
    return content


def folder_named(config: DictConfig, key: str) -> Path:
    """Where ``key``, ``hydra.run.dir`` or ``hydra.sweep.dir``, says to write: an absolute path, times filled in."""
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)
    try:
        return Path(str(OmegaConf.select(config, key, throw_on_missing=True))).absolute()
    except OmegaConfBaseException as error:
        raise explained(error) from error
    finally:
        HydraConfig.instance().cfg = before


def explained(error: BaseException) -> UserError:
    """An error of Hydra, OmegaConf or YAML as one line."""
    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, MarkedYAMLError) and cause.problem_mark is not None:
            mark = cause.problem_mark
            return UserError(f"{mark.name}, line {mark.line + 1}: not valid YAML: {cause.problem}")
    for cause in chain:
        if isinstance(cause, MissingMandatoryValue):
            return UserError(f"{cause.full_key}: no value given")
        if isinstance(cause, OmegaConfBaseException):
            reason = str(cause.msg or cause).splitlines()[0]
            return UserError(f"{cause.full_key}: {reason}" if cause.full_key else reason)
    group = re.match(r"Could not override '([\w/@.]+)'\. No match in the defaults list", str(error))
    if group is not None:
        key = f"{group[1].partition('@')[0].replace('/', '.')}.KEY=VALUE"
        return UserError(f"{group[1]}: none of its options is chosen, so no other can be; to set keys, write {key}")
    return UserError(one_line(str(error) or type(error).__name__))


def one_line(text: str) -> str:
    """A message of several lines as one, without Hydra's links to its manual."""
    return " ".join(line.strip() for line in text.splitlines() if line.strip() and "hydra.cc" not in line)


def _load(loader: ConfigLoader, overrides: list[str]) -> DictConfig:
    try:
        return loader.load_configuration(config_name=CONFIG_NAME, overrides=overrides, run_mode=RunMode.RUN)
    except AssertionError as error:
        # Hydra's complaint about an override that is not among the last defaults fails where that is a list.
        if f'group="/{TESTS}"' not in str(error):
            raise
        raise UserError(
            f"{TESTS}: in the defaults of a YAML file, lines that begin with 'override' come after all others"
        ) from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def first_value(override: Override) -> list[str]:
    """The override with the first of its values, or with one in the midst of an interval."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    interval = override.value()
    if isinstance(interval, IntervalSweep):
        middle = (float(interval.start or 0) + float(interval.end or 0)) / 2
        return [f"{override.get_key_element()}={round(middle) if 'int' in interval.tags else middle}"]
    return [f"{override.get_key_element()}={value}" for value in itertools.islice(override.sweep_string_iterator(), 1)]


def _typed(override: Override) -> str:
    return str(override.input_line).partition("=")[2]


def _check_names(parsed: Sequence[Override], loader: ConfigLoader, *, sweep: bool) -> None:
    """Refuse unknown groups, options and root keys, in words better than Hydra's."""
    groups = [*GROUPS, *(name for name in loader.list_groups("") if name not in (*GROUPS, "hydra"))]
    for override in parsed:
        name = override.key_or_group
        if name == "hydra.searchpath":
            raise UserError(
                f"{override.input_line}: not read by metarun; give the folder of your own YAML files as --config-dir "
                "FOLDER, beside which your modules are found too"
            )
        if override.is_hydra_override() or override.is_delete() or override.package is not None:
            continue
        if override.is_sweep_override() and not sweep and keys_of(str(override.input_line)):
            raise UserError(f"{override.input_line}: several choices are run one after the other by metarun -m")
        if override.is_sweep_override() and not sweep:
            value = _typed(override)
            raise UserError(
                f"{override.input_line}: several values are run one after the other by metarun -m; "
                f"for one value that is a list, write {to_paste(f'{name}=[{value}]')}; for one that is text, "
                f"{to_paste(setting(name, value))}"
            )
        if name in groups:
            _check_options(override, loader.get_group_options(name), optional=name not in (*PARTS, SWEEP))
        elif re.split(r"[./]", name)[0] not in (*groups, *ROOT_KEYS):
            raise unknown_root(re.split(r"[./]", name)[0], groups, ROOT_KEYS, _default_names(loader))


def _check_options(override: Override, options: list[str], *, optional: bool) -> None:
    values: list[Any]
    if override.is_discrete_sweep():
        values = [None if text == "null" else text for text in override.sweep_string_iterator()]
    elif override.is_sweep_override():
        return
    else:
        value = override.value()
        values = value if isinstance(value, list) else [value]
    if override.key_or_group == TESTS and values == [None]:
        raise UserError(f"{TESTS}=null: for no further data set, write {to_paste(f'{TESTS}=[]')}")
    for item in values:
        if item is None and optional:
            continue
        if not isinstance(item, str) or item not in options:
            raise unknown_option(override.key_or_group, "null" if item is None else str(item), options)


def _default_names(loader: ConfigLoader) -> list[str]:
    with contextlib.suppress(HydraException, OmegaConfBaseException, YAMLError, ValueError):
        return full_names(_tree(_load(loader, [])))
    return []


def _tree(config: DictConfig) -> dict[str, Any]:
    """A configuration as plain nested dicts, unresolved, without Hydra's part."""
    values = OmegaConf.to_container(config, resolve=False)
    assert isinstance(values, dict)
    return {str(name): value for name, value in values.items() if name != "hydra"}


def _explain_unknown_keys(parsed: Sequence[Override], loader: ConfigLoader) -> None:
    """Raise the error for the first override whose key does not exist among the options chosen, if there is one."""
    groups = [override for override in parsed if "." not in override.key_or_group and not override.is_delete()]
    try:
        config = _load(loader, [text for override in groups for text in first_value(override)])
        tree = _tree(config)
    except (HydraException, OmegaConfBaseException, YAMLError, UnicodeDecodeError, ValueError) as error:
        raise explained(error) from error
    choices = config.hydra.runtime.choices
    for override in parsed:
        if override.is_hydra_override() or override.is_add() or override.is_force_add():
            continue
        parent, node, path = "", tree, override.key_or_group.split(".")
        if path[0] == TESTS and len(path) > 1 and path[1] not in tree.get(TESTS, {}):
            raise UserError(
                f"{override.key_or_group}={_typed(override)}: no data set '{path[1]}' to test on is chosen; add "
                f"{to_paste(f'{TESTS}=[{path[1]}]')}"
            )
        for place, key in enumerate(path):
            if not isinstance(node, dict) or key not in node:
                known = [name for name in node if not name.startswith("_")] if isinstance(node, dict) else None
                if not parent:
                    break
                below = "".join(f".{name}" for name in path[place + 1 :])
                raise unknown_key(parent, choices.get(parent), key, _typed(override), known, full_names(tree), below)
            parent, node = f"{parent}.{key}" if parent else key, node[key]
