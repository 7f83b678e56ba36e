"""A saved run as the base of a new command: its configuration, put in front of what the user typed."""

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override

from metarun.config.groups import PARTS, TESTS, option_of_test
from metarun.config.modes import MODES
from metarun.config.plain_yaml import read_yaml
from metarun.config.quoting import CONFIG_DIR, quoted, unescaped
from metarun.core.errors import UserError
from metarun.core.names import is_key
from metarun.core.tensor_file import Damaged, read_plain
from metarun.runs.files import CONFIG, OLD, checkpoint_files, only_old, saved

_DECIDE_SPLITS = ("seed", "dataset.protocol", "dataset.fractions", "dataset.split", "dataset.test_tasks")
"""Keys that a test may not change: another split would hold classes of the training."""

_YOUNGER = ("tracking", "hpo", "collect")
"""Groups that there were not when runs were saved that are still there; their default options serve."""

_TYPED_ONLY = re.compile(rf"(dataset|{TESTS}\.[\w-]+)\.download")

_ONCE_NULL = {"engine.task_chunk": "auto"}
"""Keys that took null when runs were saved that are still there, and what means the same now."""

_RENAMED = {"tracking.share": "tracking.time_share"}
"""Keys that had another name in earlier versions."""


def typed_only(key: str) -> bool:
    """Whether a key is a switch that a saved file cannot turn on, since it writes outside of the run's folder."""
    return _TYPED_ONLY.fullmatch(key) is not None


def with_saved_run(
    overrides: Sequence[str], parsed: Sequence[Override], config_dir: str | None = None, *, sweep: bool
) -> list[str]:
    """The overrides with the configuration of the run named by ``resume`` or ``checkpoint`` in front of them, if any.

    Raises `UserError` where no run is there or its configuration is broken, for overrides that would be ignored, and
    where the run had parts from a folder of the user's and no ``config_dir`` is given.
    """
    given = {override.key_or_group: override for override in parsed}
    for key in ("resume", "checkpoint"):
        if key not in given:
            continue
        if given[key].is_sweep_override() or (sweep and key == "resume"):
            raise UserError(f"{given[key].input_line}: takes one run, not several, and resume no -m")
        path = given[key].value()
        if path is None:
            continue
        if not isinstance(path, str):
            raise UserError(f"{given[key].input_line}: a path is expected")
        path = unescaped(path)
        if key == "resume":
            return _resumed(path, overrides, parsed, config_dir)
        return _tested(path, overrides, parsed, config_dir)
    return list(overrides)


def as_overrides(config: Any, source: str, config_dir: str | None, *, tests: bool = True) -> list[str]:
    """A saved configuration as overrides; ``source`` says where it was saved. Raises `UserError`.

    tests: whether with the further data sets that it is meta-tested on.
    """
    without = {} if tests or not isinstance(config, dict) else {TESTS: None}
    return _as_overrides({**config, **without} if without else config, {}, source, config_dir)


def _resumed(path: str, overrides: Sequence[str], parsed: Sequence[Override], config_dir: str | None) -> list[str]:
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"resume={path}: no such folder")
    if not (folder / CONFIG).is_file():
        raise UserError(f"resume={path}: not a run's folder: it has no {CONFIG}")
    if only_old(folder):
        raise UserError(f"resume={path}: {OLD}")
    if not saved(folder):
        raise UserError(f"resume={path}: the run had not saved a state yet; start it again")
    config = read_yaml(folder / CONFIG)
    others = [_name(override) for override in parsed if not _goes_with_resume(override)]
    if others:
        raise UserError(
            f"resume={path}: a resumed run keeps its settings; only engine.steps may be given (not {', '.join(others)})"
        )
    if "engine.steps" in map(_name, parsed) and _sequential(config):
        raise UserError(
            f"resume={path}: engine.steps does not go with a sequence, whose groups share the steps; start a new run"
        )
    return [
        *as_overrides(config, str(folder / CONFIG), config_dir),
        *_mode(config),
        *overrides,
        f"hydra.run.dir={quoted(path)}",
    ]


def _mode(config: Any) -> list[str]:
    """The override for the mode of a saved run, if the run continues in another mode than the default."""
    mode = config.get("mode")
    if not isinstance(mode, str) or mode == next(iter(MODES)) or mode not in MODES or not MODES[mode].resumes:
        return []
    return [f"mode={mode}"]


def _sequential(config: Any) -> bool:
    engine = config.get("engine") if isinstance(config, dict) else None
    return isinstance(engine, dict) and engine.get("order") == "sequential"


def _goes_with_resume(override: Override) -> bool:
    name = _name(override)
    if name == "mode":
        return str(override.value()) in MODES and MODES[str(override.value())].resumes
    if name.startswith("hydra"):
        return name != "hydra.run.dir"
    return name in ("resume", "engine.steps") or typed_only(name)


def _tested(path: str, overrides: Sequence[str], parsed: Sequence[Override], config_dir: str | None) -> list[str]:
    names = {_name(override): override for override in parsed}
    for name in _DECIDE_SPLITS:
        if name in names:
            hint = "; engine.episode_seed gives other episodes" if name == "seed" else ""
            raise UserError(
                f"{name} does not go with checkpoint={path}: it decides which classes that run was trained on{hint}"
            )
    for name in ("experiment", "debug"):
        if name in names:
            raise UserError(
                f"{name} does not go with checkpoint={path}, whose run has its own settings; give single keys"
            )
    candidates = checkpoint_files(path)
    beside = (Path(path) if Path(path).is_dir() else candidates[0].parent.parent) / CONFIG
    if beside.is_file():
        return [*_as_overrides(read_yaml(beside), names, str(beside), config_dir), *overrides]
    file, config = _inside(candidates)
    return [*_as_overrides(config, names, str(file), config_dir), *overrides]


def _name(override: Override) -> str:
    """The key or group, with its package where one is given: ``dataset@test_dataset.far``."""
    return override.key_or_group if override.package is None else f"{override.key_or_group}@{override.package}"


def _inside(candidates: Sequence[Path]) -> tuple[Path, Any]:
    """The first checkpoint that is not damaged, and the configuration that it carries."""
    for file in candidates[:-1]:
        try:
            return file, read_plain(file).get("config")
        except Damaged:  # which is reported where the state is read
            continue
    return candidates[-1], read_plain(candidates[-1]).get("config")


def _as_overrides(config: Any, replaced: Mapping[str, Override], source: str, config_dir: str | None) -> list[str]:
    """A saved configuration as overrides, without the groups in ``replaced``, which the user chose again.

    If the same dataset is chosen again, the keys of its splits are kept. Classes (``_target_``) are never taken from a
    saved file: the option chosen names its own.
    """
    if not isinstance(config, dict) or not isinstance(config.get("choices"), dict):
        raise UserError(f"{source}: not the configuration of a metarun run")
    texts = []
    for group in PARTS:
        if group in _YOUNGER and group not in config:
            continue
        option, node = config["choices"].get(group), config.get(group)
        if not _is_option(option) or not isinstance(node, dict):
            raise UserError(f"{source}: not the configuration of a run of this version of metarun: it has no {group}")
        if group not in replaced:
            _refuse_lost(group, option, config.get(CONFIG_DIR), source, config_dir)
            texts += [f"{group}={option}", *_leaves(group, node, source)]
        elif replaced[group].value() == option:
            texts += [text for text in _leaves(group, node, source) if text.partition("=")[0] in _DECIDE_SPLITS]
    if not any(name == TESTS or name.startswith(f"dataset@{TESTS}") for name in replaced):
        texts += _tests(config, source, config_dir)
    for key in ("likelihood", "seed"):
        if key not in config:
            raise UserError(f"{source}: not the configuration of a run of this version of metarun: it has no {key}")
        texts.append(f"{key}={_value(config[key], source)}")
    return texts


def _tests(config: Mapping[Any, Any], source: str, config_dir: str | None) -> list[str]:
    """The further data sets of a saved configuration as overrides."""
    texts, nodes = [], config.get(TESTS) or {}
    if not isinstance(nodes, dict):
        raise UserError(f"{source}: not the configuration of a metarun run: its {TESTS} is not a mapping")
    for name, node in nodes.items():
        place, option = f"{TESTS}.{_key(name, source)}", option_of_test(config["choices"], str(name))
        if not _is_option(option) or not isinstance(node, dict):
            raise UserError(f"{source}: not the configuration of a metarun run: it has no {place}")
        _refuse_lost("dataset", str(option), config.get(CONFIG_DIR), source, config_dir)
        texts += [f"+dataset@{place}={option}", *_leaves(place, node, source)]
    return texts


def _is_option(option: Any) -> bool:
    return isinstance(option, str) and re.fullmatch(r"[\w./-]+", option) is not None


def _refuse_lost(group: str, option: str, saved: Any, source: str, config_dir: str | None) -> None:
    """Refuse to look among metarun's own options for one of the user's.

    The folder that the saved file names is told and not used, since its files name classes to import.
    """
    if not isinstance(saved, str) or config_dir is not None:
        return
    if not files("metarun.conf").joinpath(group, f"{option}.yaml").is_file():
        raise UserError(
            f"{source}: {group}={option} is not metarun's but of the folder {saved}; give that again as --config-dir "
            "(in Python: config_dir=)"
        )


def _leaves(prefix: str, node: Mapping[Any, Any], source: str) -> list[str]:
    texts = []
    for key, value in node.items():
        if key == "_target_":
            continue
        full = f"{prefix}.{_key(key, source)}"
        full = _RENAMED.get(full, full)
        if isinstance(value, dict):
            texts += _leaves(full, value, source)
        else:
            now = _ONCE_NULL.get(full) if value is None else False if typed_only(full) and value is True else value
            texts.append(f"{full}={_value(now, source)}")
    return texts


def _key(key: Any, source: str) -> str:
    if not isinstance(key, str) or not is_key(key):
        raise UserError(f"{source}: not the configuration of a metarun run: '{key}' is not a key")
    return key


def _value(value: Any, source: str) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        return "[" + ",".join(_value(item, source) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_key(key, source)}:{_value(item, source)}" for key, item in value.items()) + "}"
    raise UserError(f"{source}: not the configuration of a metarun run: {value!r} is not a plain value")
