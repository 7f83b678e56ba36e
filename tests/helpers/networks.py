"""Hypernetworks with the settings of their YAML files, and task models for them to make."""

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn
from torch.func import functional_call

from metarun.config.auto_defaults import usual_values
from metarun.core.inputs import InputSpec
from metarun.hypernets.base import HypernetConfig
from metarun.models.base import Parameters
from metarun.models.conv4 import Conv4
from metarun.models.mlp import MLP
from metarun.models.normalization import Context

CONF = Path(__file__).parents[2] / "conf" / "hypernet"
MAKING = ("full", "chunked", "lowrank", "film")
EMBEDDING = 5


def config(option: str, **changes: Any) -> HypernetConfig:
    """The hypernetwork with its default settings for regression, but for ``changes``."""
    values = yaml.safe_load((CONF / f"{option}.yaml").read_text(encoding="utf-8"))
    values |= usual_values(values, "regression")
    values.pop("_by_kind_", None)
    module, _, name = values.pop("_target_").rpartition(".")
    made: HypernetConfig = replace(getattr(importlib.import_module(module), name)(**values), **changes)
    return made


def small(option: str, **changes: Any) -> HypernetConfig:
    """The same, of a size for tests."""
    return config(option, **({"hidden": [16, 12]} | ({"chunk": 10} if option == "chunked" else {}) | changes))


def mlp(normalization: str = "none", hidden: tuple[int, ...] = (6, 5), inputs: int = 4, outputs: int = 3) -> nn.Module:
    return MLP(hidden=list(hidden), activation="relu", normalization=normalization).build(
        InputSpec.of((inputs,)), outputs
    )


def conv4(normalization: str = "none", channels: int = 4, layers: int = 2, side: int = 6) -> nn.Module:
    network = Conv4(
        channels=channels, layers=layers, downsample="stride", readout="flatten", normalization=normalization
    )
    return network.build(InputSpec.of((1, side, side)), 3)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mlp": mlp,
    "mlp with batch": lambda: mlp("batch"),
    "conv4": conv4,
    "conv4 with batch": lambda: conv4("batch"),
    "conv4 with group": lambda: conv4("group"),
}


def theta_of(network: nn.Module, dtype: torch.dtype = torch.float64) -> Parameters:
    """θ₀, with no number left at the round value that it starts with."""
    generator = torch.Generator().manual_seed(3)
    return {
        name: tensor.detach().to(dtype) + 0.1 * torch.randn(tensor.shape, generator=generator, dtype=dtype)
        for name, tensor in network.named_parameters()
    }


def inputs_of(network: nn.Module, n: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    convolutional = isinstance(network.layers[0], nn.Conv2d)
    return torch.randn((n, 1, 6, 6) if convolutional else (n, 4), generator=generator, dtype=torch.float64)


def output(network: nn.Module, theta: Parameters, x: Tensor) -> Tensor:
    return functional_call(network, theta, (x, Context()))


def parameters(module: nn.Module, moved: float = 0.0) -> Parameters:
    """φ in float64, at its start or moved away from it by noise of that size."""
    generator = torch.Generator().manual_seed(5)
    return {
        name: tensor.detach().double() + moved * torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        for name, tensor in module.named_parameters()
    }


def start(hypernet: nn.Module, phi: Parameters, theta: Parameters, embedding: Tensor) -> Parameters:
    """θ_t⁰, from no more of θ₀ than the hypernetwork says it uses."""
    shared = {name: tensor for name, tensor in theta.items() if name in hypernet.shared}
    return functional_call(hypernet, phi, (shared, embedding))
