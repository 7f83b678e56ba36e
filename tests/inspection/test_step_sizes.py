"""Learned step sizes, layer by layer."""

import torch
from builders import MLP, build, waves

from metarun.inspection.step_sizes import step_sizes
from metarun.learner.learner import Learner, MetaParameters


def numbered(learner: Learner, phi: MetaParameters) -> MetaParameters:
    """φ whose step sizes are 0, 1, 2 and so on in the order of their names."""
    count = 0
    params = {}
    for name, tensor in phi["algorithm"].items():
        params[name] = torch.arange(count, count + tensor.numel(), dtype=tensor.dtype).view(tensor.shape)
        count += tensor.numel()
    return {**phi, "algorithm": params}


def test_one_for_every_number_of_theta() -> None:
    learner, phi = build(waves(), "algorithm=meta_sgd", "model=mlp", "model.hidden=[2,2]")
    found = step_sizes(learner, numbered(learner, phi))
    assert list(found) == ["layers.0", "layers.1", "head"]
    assert found["layers.0"].tolist() == [0, 1, 2, 3]
    assert found["layers.1"].tolist() == [4, 5, 6, 7, 8, 9]
    assert found["head"].tolist() == [10, 11, 12]


def test_one_for_every_layer_and_step() -> None:
    rates = ("algorithm.rates.per=layer", "algorithm.rates.each_step=true", "algorithm.rates.scale=linear")
    learner, phi = build(waves(), "algorithm=maml_pp", *rates, *MLP, inner_steps=2)
    phi["algorithm"] = {name: tensor for name, tensor in phi["algorithm"].items() if name.startswith("rate.")}
    found = {name: values.tolist() for name, values in step_sizes(learner, numbered(learner, phi)).items()}
    assert found == {
        "layers.0 step 1": [0], "layers.0 step 2": [1], "layers.1 step 1": [2], "layers.1 step 2": [3],
        "head step 1": [4], "head step 2": [5],
    }  # fmt: skip


def test_one_for_every_tensor() -> None:
    learner, phi = build(waves(), "algorithm=meta_sgd", "algorithm.rates.per=tensor", *MLP)
    phi = numbered(learner, phi)
    assert list(phi["algorithm"]) == [f"rate.{name}" for name in phi["theta"]]
    found = {name: values.tolist() for name, values in step_sizes(learner, phi).items()}
    assert found == {"layers.0": [0, 1], "layers.1": [2, 3], "head": [4, 5]}


def test_fixed_step_sizes_are_not_shown() -> None:
    for name in ("maml", "reptile", "cnp"):
        assert step_sizes(*build(waves(), f"algorithm={name}", *MLP)) == {}
    fixed = ("algorithm=meta_sgd", "algorithm.rates.learned=false", "algorithm.inner_lr=[0.1,0.2]")
    assert step_sizes(*build(waves(), *fixed, *MLP)) == {}
