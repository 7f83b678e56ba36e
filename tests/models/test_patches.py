"""Convolutions as products of matrices."""

import pytest
import torch
import torch.nn.functional as F
from builders import settings
from torch.func import grad, vmap

from metarun.engine.meta_gradient import MetaGradient
from metarun.models import conv4
from metarun.models.patches import convolved, patches, places
from metarun.setup import assemble


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(6, 6), (5, 7)])
def test_patches_are_those_of_unfold(stride: int, size: tuple[int, int]) -> None:
    x = torch.randn(3, 2, *size)
    wanted = F.unfold(x, 3, padding=1, stride=stride)
    torch.testing.assert_close(patches(x, places(*size, stride)), wanted, rtol=0, atol=0)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(6, 6), (5, 7)])
def test_second_derivatives_of_every_task_are_those_of_conv2d(stride: int, size: tuple[int, int]) -> None:
    x = torch.randn(4, 3, 2, *size, dtype=torch.float64)
    weight, bias = torch.randn(4, 5, 2, 3, 3, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    at = places(*size, stride)

    def by_product(x, weight, bias):  # type: ignore[no-untyped-def]
        return convolved(x, weight, bias, at, stride)

    def by_library(x, weight, bias):  # type: ignore[no-untyped-def]
        return F.conv2d(x, weight, bias, stride, padding=1)

    def adapted(convolution):  # type: ignore[no-untyped-def]
        def loss(weight, bias, x):  # type: ignore[no-untyped-def]
            return convolution(x, weight, bias).sin().square().sum()

        def after_a_step(weight, bias, x):  # type: ignore[no-untyped-def]
            slope, seen = grad(loss, argnums=(0, 2))(weight, bias, x)
            return loss(weight - 0.1 * slope, bias, x.flip(0)) + seen.square().sum()

        return vmap(grad(after_a_step, argnums=(0, 1, 2)))(weight, bias, x)

    torch.testing.assert_close(adapted(by_product), adapted(by_library), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("downsample", ["stride", "pool"])
@pytest.mark.parametrize("normalization", ["batch", "none"])
def test_a_networks_meta_gradient_is_the_same(
    downsample: str, normalization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = (f"model.downsample={downsample}", f"model.normalization={normalization}")
    chosen = settings("dataset=glyphs", "model.channels=4", *kinds, "device.precision=float64")
    cpu = torch.device("cpu")
    dataset = chosen.dataset.load(0, cpu, torch.float64)
    learner, phi = assemble.compose(chosen, dataset, cpu)
    batch, meta_gradient = dataset.sample("train", 0, 2), MetaGradient(learner, None, compiled=False)
    wanted = meta_gradient(phi, batch)
    monkeypatch.setattr(conv4, "PRODUCTS", ("cpu",))
    torch.testing.assert_close(meta_gradient(phi, batch), wanted, rtol=1e-9, atol=1e-9)
