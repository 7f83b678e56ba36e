"""A row's tasks, and metarun's learner for them."""

import torch

from benchmarks.rows import Row
from metarun.config.compose import compose, plain
from metarun.core.inputs import InputSpec
from metarun.core.kinds import Classification, Regression
from metarun.core.tasks import Examples, TaskBatch, batch
from metarun.datasets.base import Problem
from metarun.learner.learner import Learner, MetaParameters
from metarun.setup.assemble import assemble
from metarun.setup.check import check


def made_up(row: Row, device: torch.device, dtype: torch.dtype = torch.float32) -> TaskBatch:
    """Sine waves; or images of which each class is a random pattern under noise. The same at every call."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.arange(row.tasks, device=device)
    each = row.shots + row.queries
    if row.ways:
        patterns = torch.randn(row.tasks, row.ways, 1, *row.input_shape, generator=generator)
        x = patterns + torch.randn(row.tasks, row.ways, each, *row.input_shape, generator=generator)
        y = torch.arange(row.ways)[:, None].expand(row.tasks, -1, each)
    else:
        amplitude, phase = 5 * torch.rand(2, row.tasks, 1, 1, 1, generator=generator)
        x = 10 * torch.rand(row.tasks, 1, each, 1, generator=generator) - 5
        y = (amplitude * torch.sin(x - phase)).to(dtype)
    support, query = (
        Examples(x[:, :, rows].flatten(1, 2).to(device, dtype), y[:, :, rows].flatten(1, 2).to(device))
        for rows in (slice(row.shots), slice(row.shots, None))
    )
    return batch(support, query, numbers)


def learner(row: Row, device: torch.device, precision: str = "float32") -> tuple[Learner, MetaParameters]:
    """metarun's learner for such tasks, and its first φ: the same at every call."""
    kind = Classification(row.ways) if row.ways else Regression()
    config = compose([*row.overrides, f"likelihood={kind.likelihood}", f"device.precision={precision}"])
    settings = check(plain(config, config.hydra.runtime.choices))
    return assemble(settings, Problem("benchmark", InputSpec.of(row.input_shape), kind, kind, 0, 0, 0), device)
