"""Filtering of the overrides in a saved ``sweep.yaml``.

The file may come from another person. Through Hydra an override can import and call anything (callbacks, search paths,
``_target_``), and a launcher's can run commands. Only overrides listed here are used; the user can type the others.
"""

import re
from collections.abc import Iterator
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, Override

from metarun.config.groups import GROUPS, PARTS, ROOT_KEYS, SWEEP, TESTS
from metarun.core.names import is_key, is_special

LAUNCHERS = ("basic", "joblib", "submitit_local", "submitit_slurm", "ray")

LAUNCHER_KEYS = frozenset(
    {
        # joblib, without pre_dispatch (an expression that joblib evaluates), backend and temp_folder
        *("n_jobs", "prefer", "verbose", "timeout", "batch_size"),
        # submitit, without setup, python, srun_args, additional_parameters and submitit_folder
        *("timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb", "nodes", "array_parallelism"),
        *("partition", "qos", "account", "constraint", "exclude", "gres", "cpus_per_gpu", "gpus_per_task"),
        *("mem_per_gpu", "mem_per_cpu", "signal_delay_s", "max_num_timeout", "stderr_to_stdout"),
        # Ray, without address, to which jobs would be sent, and runtime_env
        *("ray.init.num_cpus", "ray.init.num_gpus", "ray.init.include_dashboard"),
        *("ray.remote.num_cpus", "ray.remote.num_gpus", "ray.remote.memory", "ray.remote.max_retries"),
    }
)
"""Keys of ``hydra.launcher`` that only take numbers or names and neither run nor write anything."""

_LAUNCHER = "hydra.launcher."
_WORD = re.compile(r"[\w.:,@%+-]*")
"""A launcher's value. submitit writes it to a shell script, so it must not contain spaces, newlines or quotes."""


def refusal(override: Override) -> str | None:
    """Why an override is not used if it comes from a saved file; ``None`` if it is used."""
    key = override.key_or_group
    if override.package is not None or override.is_delete():
        return "changes what is composed"
    if "${" in str(override.input_line):
        return "contains an interpolation"
    if key == "hydra/launcher":
        return None if override.value() in LAUNCHERS else "is not a launcher that metarun knows"
    if override.is_hydra_override() or key == "hydra":
        name = key.removeprefix(_LAUNCHER)
        if not key.startswith(_LAUNCHER) or name not in LAUNCHER_KEYS:
            return "may run commands or write files"
        return None if _is_word(override.value()) else "is not a number or a word"
    root, *below = key.split(".")
    known = (root in (*PARTS, TESTS, SWEEP) and all(map(is_key, below))) or key in (*GROUPS, *ROOT_KEYS)
    if not known:
        return "is not a setting of metarun"
    if any(map(is_special, _keys(override._value))):
        return "names a class or a function to import"
    return None


def _is_word(value: Any) -> bool:
    return value is None or isinstance(value, int | float) or (isinstance(value, str) and bool(_WORD.fullmatch(value)))


def _keys(value: Any) -> Iterator[str]:
    """All keys of the mappings in an override's value, at any depth."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from _keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from _keys(item)
    elif isinstance(value, ChoiceSweep):
        yield from _keys(value.list)
