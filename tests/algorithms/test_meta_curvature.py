"""Meta-curvature: MAML at the identity, and a matrix along each axis of a gradient."""

import torch
from builders import CONV, MLP, Blobs, build, moved, waves
from torch import Tensor

from metarun.algorithms.meta_curvature import MetaCurvature
from metarun.engine.meta_gradient import MetaGradient


def test_identity_matrices_are_maml() -> None:
    for dataset, model in ((waves(), MLP), (Blobs(), CONV)):
        told = []
        for name in ("maml", "meta_curvature"):
            learner, phi = build(dataset, *model, f"algorithm={name}", inner_steps=2, inner_lr=0.03)
            phi = {**phi, "theta": moved(phi)["theta"]}
            gradient, metrics = MetaGradient(learner, None, compiled=False)(phi, dataset.sample("train", 0, 3))
            told.append((gradient["theta"], metrics))
        torch.testing.assert_close(told[1], told[0], rtol=1e-9, atol=1e-10)


def test_each_axis_of_a_gradient_has_its_matrix() -> None:
    """Against the Kronecker product of the three, on the gradient laid out flat."""
    learner, phi = build(Blobs(), *CONV, "algorithm=meta_curvature")
    assert isinstance(learner.algorithm, MetaCurvature)
    params = moved(phi, 0.3)["algorithm"]
    generator = torch.Generator().manual_seed(0)
    name = "layers.1.weight"
    gradient = torch.randn(phi["theta"][name].shape, generator=generator, dtype=torch.float64)
    out, inputs, places = (params[f"{name}.{axis}"] for axis in ("outputs", "inputs", "places"))
    assert (len(out), len(inputs), len(places)) == (4, 4, 9)
    whole: Tensor = torch.kron(torch.kron(out.T, inputs.T), places.T)
    curved = learner.algorithm.direction(params, {name: gradient}, {}, {})[name]
    torch.testing.assert_close(curved.flatten(), whole @ gradient.flatten(), rtol=1e-9, atol=1e-9)


def test_axes_of_one_entry_have_none() -> None:
    _, phi = build(waves(), *MLP, "algorithm=meta_curvature")
    names = set(phi["algorithm"])
    assert {"layers.1.weight.outputs", "layers.1.weight.inputs", "layers.1.bias.outputs"} < names
    assert not names & {"layers.0.weight.inputs", "head.bias.outputs", "layers.1.weight.places"}
