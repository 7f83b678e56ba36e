"""Every hypernetwork with every embedding, under the gradient-based algorithms, on classification and on regression."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from builders import CONV, CPU, MLP, Blobs, build, looped, moved, settings
from torch.utils._pytree import tree_leaves

from metarun.core.errors import UserError
from metarun.datasets.base import Dataset, Seeds
from metarun.datasets.sinusoid import Sinusoid
from metarun.engine.compile.compilation import compiled_if_equal
from metarun.engine.evaluation import Evaluator
from metarun.engine.meta_gradient import MetaGradient
from metarun.setup import assemble
from metarun.training.outer_optimizer import OuterOptimizer

CONF = Path(__file__).parents[2] / "conf"
HYPERNETS = sorted({path.stem for path in (CONF / "hypernet").glob("*.yaml")} - {"none"})
EMBEDDINGS = sorted({path.stem for path in (CONF / "embedding").glob("*.yaml")} - {"none"})
ALGORITHMS = ("maml", "reptile", "meta_sgd", "anil")


def known_waves() -> Sinusoid:
    config = settings("dataset=sinusoid").dataset
    return Sinusoid(replace(config, shots=5, queries=6, tasks=4), Seeds(0, 0), CPU, torch.float64)


PROBLEMS: dict[str, tuple[Dataset, tuple[str, ...]]] = {
    "classification": (Blobs(known=4), CONV),
    "regression": (known_waves(), MLP),
}


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("embedding", EMBEDDINGS)
@pytest.mark.parametrize("hypernet", HYPERNETS)
def test_two_steps_of_every_composition(hypernet: str, embedding: str, algorithm: str, problem: str) -> None:
    dataset, model = PROBLEMS[problem]
    chosen = (f"hypernet={hypernet}", "hypernet.hidden=[6]", f"embedding={embedding}", "embedding.size=4")
    chosen += ("hypernet.chunk=50",) if hypernet == "chunked" else ()
    learner, phi = build(dataset, *chosen, *model, f"algorithm={algorithm}", inner_lr=0.02, inner_steps=2, test_steps=2)
    phi = moved(phi, 0.02)
    optimizer = OuterOptimizer(learner.algorithm.outer, phi, clip=None)
    meta_gradient = MetaGradient(learner, 2, compiled=False)
    for step in range(2):
        batch = dataset.sample("train", step, 3)
        gradient, metrics = meta_gradient(phi, batch)
        torch.testing.assert_close((gradient, metrics), looped(learner, phi, batch), rtol=1e-9, atol=1e-9)
        for group in ("hypernet", "embedding"):
            assert sum(float(part.abs().sum()) for part in tree_leaves(gradient[group])) > 0, group
        optimizer.step(gradient, 0.01)
    episodes = Evaluator(learner, 2)(phi, dataset, "test", 3)
    assert all(values.isfinite().all() for values in episodes.curves.values())


@pytest.mark.parametrize(
    ("hypernet", "embedding"),
    [
        pytest.param(*pair, marks=pytest.mark.compiling if number else pytest.mark.slow)
        for number, pair in enumerate(zip(HYPERNETS, EMBEDDINGS, strict=True))
    ],
)
def test_compiled_equals_eager(hypernet: str, embedding: str) -> None:
    dataset, model = PROBLEMS["regression"]
    learner, phi = build(dataset, f"hypernet={hypernet}", f"embedding={embedding}", *model, inner_lr=0.02)
    batch, phi = dataset.sample("train", 0, 3), moved(phi, 0.02)
    eager = MetaGradient(learner, None, compiled=False)
    compiled = compiled_if_equal(learner, eager, phi, batch)
    assert compiled is not eager
    torch.testing.assert_close(compiled(phi, batch), eager(phi, batch), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("embedding=learned", "hypernet=film"), "dataset.tasks"),
        (("embedding=descriptor", "hypernet=film", "dataset=glyphs", "model=conv4"), "descriptor"),
        (("hypernet=film",), "embedding=support"),
        (("embedding=support",), "hypernet="),
        (("regularizer.output=0.1",), "engine.order=sequential"),
        (("regularizer.embedding=0.1",), "embedding=support"),
        (("regularizer.proximal=0.1", "algorithm.inner_steps=0"), "inner steps"),
        (("regularizer.l2=0.1", "algorithm=scratch"), "no meta-training to regularize"),
        (("regularizer.proximal=0.1", "algorithm.order=1"), "algorithm.order=2"),
        (("regularizer.proximal=0.1", "algorithm=reptile"), "algorithm.order=2"),
        (("engine.order=sequential", "dataset=polynomials", "algorithm=scratch"), "no meta-training, so the order"),
        (("engine.order=sequential",), "groups"),
        (("engine.order=sequential", "dataset=polynomials", "engine.steps=2"), "3 groups"),
        (("engine.order=sequential", "dataset=polynomials", "regularizer.output=0.1"), "hypernet=full"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(overrides: tuple[str, ...], words: str) -> None:
    chosen = settings("dataset=sinusoid", "model=mlp", *overrides)
    with pytest.raises(UserError) as refusal:
        assemble.compose(chosen, chosen.dataset.load(0, CPU, torch.float32), CPU)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)
