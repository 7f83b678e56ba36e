"""A whole run's settings, checked and typed."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from metarun.config.groups import TESTS, Root
from metarun.core.errors import UserError
from metarun.setup.kind_check import refuse_other_kind

if TYPE_CHECKING:
    import torch

    from metarun.algorithms.base import Algorithm
    from metarun.datasets.base import Dataset, DatasetConfig
    from metarun.embeddings.base import EmbeddingConfig
    from metarun.engine.device import DeviceSettings
    from metarun.engine.settings import EngineSettings
    from metarun.hpo.collect_settings import CollectSettings
    from metarun.hpo.settings import HpoSettings
    from metarun.hypernets.base import HypernetConfig
    from metarun.models.base import ModelConfig
    from metarun.regularizers.penalties import Penalties
    from metarun.runs.settings import TrackingSettings


@dataclass(kw_only=True)
class Settings(Root):
    """What `metarun.setup.check.check` makes of a composed configuration: one instance per group, and the root's keys.

    The parts are the dataclasses that the options' YAML files name.
    """

    dataset: "DatasetConfig"
    model: "ModelConfig"
    embedding: "EmbeddingConfig"
    hypernet: "HypernetConfig"
    algorithm: "Algorithm"
    regularizer: "Penalties"
    device: "DeviceSettings"
    engine: "EngineSettings"
    tracking: "TrackingSettings"
    hpo: "HpoSettings"
    collect: "CollectSettings"
    test_dataset: dict[str, "DatasetConfig"] = field(default_factory=dict)
    """Further data sets to meta-test on, by name."""
    plain: dict[str, Any] = field(repr=False)
    """The resolved configuration in builtin types only, with the options chosen under ``choices``: what
    ``config.yaml`` and checkpoints hold."""

    def load_dataset(self, device: "torch.device", **changes: Any) -> "Dataset":
        """The dataset of these settings, with both seeds; ``changes`` are keys of its configuration.

        Raises `UserError` where the data are missing, broken or too few, and where defaults followed from another kind
        of task than theirs.
        """
        config: DatasetConfig = replace(self.dataset, **changes) if changes else self.dataset  # type: ignore[type-var]
        dataset = config.load(self.seed, device, self.device.dtype, episode_seed=self.engine.episode_seed)
        refuse_other_kind(self.plain, dataset)
        return dataset

    def load_test_dataset(self, name: str, device: "torch.device", **changes: Any) -> "Dataset":
        """One of the further data sets to meta-test on, as `load_dataset`."""
        config: DatasetConfig = self.test_dataset[name]
        config = replace(config, **changes) if changes else config  # type: ignore[type-var]
        with _named(f"{TESTS}.{name}"):
            return config.load(self.seed, device, self.device.dtype, episode_seed=self.engine.episode_seed)


@contextmanager
def _named(place: str) -> Iterator[None]:
    """Within this context, errors name a further data set's keys in full: ``test_dataset.NAME.key``."""
    try:
        yield
    except UserError as error:
        text = re.sub(r"(?<![\w.])dataset\.(?=\w)", f"{place}.", str(error))
        raise UserError(text if text.startswith(place) else f"{place}: {text}") from error
