"""Refusing a hypernetwork that would not fit, before anything of its size is allocated."""

from importlib.resources import files

import torch
import yaml

from metarun.config.auto_defaults import usual_values
from metarun.core.errors import UserError
from metarun.core.free_memory import available
from metarun.hypernets.base import HypernetConfig
from metarun.hypernets.chunked import ChunkedHypernet
from metarun.hypernets.heads import picked
from metarun.hypernets.lowrank import LowRankHypernet
from metarun.models.base import Parameters, count

COPIES = 7
"""Of a hypernetwork's parameters, at the peak of a step: the module's own, φ, the two moments of Adam, and three
gradients (the last step's, the tasks' sum and their mean). A run's memory was measured to grow by 7.3."""
COPIES_PER_TASK = 2
"""Of what it makes: the parameters and their gradient. Inner steps and activations come on top."""
SMALLER = {"chunked": ChunkedHypernet, "lowrank": LowRankHypernet}


def refuse_if_too_large(
    config: HypernetConfig,
    option: str,
    embedding_size: int,
    theta: Parameters,
    tasks: int,
    dtype: torch.dtype,
    device: torch.device,
) -> None:
    """Raise `UserError` where training this hypernetwork cannot fit in the device's memory.

    option: the name of ``config`` in ``conf/hypernet``. tasks: as many as are computed at once.
    """
    there = available(device)
    if there is None or not config.needs_embedding:
        return
    numbers, need = needed(config, embedding_size, theta, tasks, dtype)
    if need <= there:
        return
    needs = {
        f"hypernet={name}": needed(usual(name), embedding_size, theta, tasks, dtype)[1]
        for name in SMALLER
        if name != option
    }
    fitting = [f"{name} ({gibibytes(other)})" for name, other in needs.items() if other <= there]
    advice = "use a smaller model, fewer units in hypernet.hidden, or fewer tasks at once (engine.task_chunk)"
    if fitting:
        advice = f"{' or '.join(fitting)} would fit"
    raise UserError(
        f"hypernet={option}: its {numbers:,} parameters need at least {gibibytes(need)} of memory to train, and "
        f"{gibibytes(there)} are free on {device}; {advice}"
    )


def needed(
    config: HypernetConfig, embedding_size: int, theta: Parameters, tasks: int, dtype: torch.dtype
) -> tuple[int, int]:
    """Number of parameters of the hypernetwork, and the bytes to train it on ``tasks`` tasks at once."""
    with torch.device("meta"):
        hypernet = config.build(embedding_size, theta)
    numbers = count(dict(hypernet.named_parameters()))
    made = count(picked(theta, hypernet.generated))
    return numbers, (COPIES * numbers + COPIES_PER_TASK * tasks * made) * dtype.itemsize


def usual(option: str) -> HypernetConfig:
    """A hypernetwork with the settings of its YAML file; of those that follow the kind of task, for regression."""
    values = yaml.safe_load(files("metarun.conf").joinpath("hypernet", f"{option}.yaml").read_text(encoding="utf-8"))
    values |= usual_values(values, "regression")  # they take no memory
    return SMALLER[option](**{name: value for name, value in values.items() if not name.startswith("_")})


def gibibytes(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB" if size > 2**30 / 10 else "under 0.1 GiB"
