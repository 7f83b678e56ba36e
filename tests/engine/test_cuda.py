"""The GPU computes what the CPU does: the same tasks, start, meta-gradients and episodes."""

from contextlib import nullcontext

import pytest
import torch
from builders import ALGORITHMS, CPU, MLP, algorithm, settings

from metarun import composition
from metarun.algorithms.base import Learned
from metarun.datasets.sinusoid import Sinusoid
from metarun.engine.device import cuda_graphs
from metarun.engine.evaluation import Evaluator
from metarun.engine.meta_gradient import MetaGradient
from metarun.kinds import Regression
from metarun.learner import Learner, MetaParameters

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

REGRESSING = [(f"algorithm={name}",) for name in ALGORITHMS if isinstance(Regression(), algorithm(name).kinds)]
MAKING = [
    ("hypernet=full", "embedding=support"),
    ("hypernet=chunked", "embedding=learned", "dataset.tasks=4"),
    ("hypernet=lowrank", "embedding=descriptor"),
    ("hypernet=film", "embedding=fisher"),
]


def on(device: torch.device, overrides: tuple[str, ...]) -> tuple[Sinusoid, Learner, MetaParameters]:
    chosen = settings("dataset=sinusoid", *MLP, *overrides, "device.precision=float64")
    dataset = chosen.dataset.load(0, device, torch.float64)
    return dataset, *composition.compose(chosen, dataset, device)


@pytest.mark.parametrize("overrides", [*REGRESSING, *MAKING], ids=" ".join)
def test_meta_gradients_and_episodes_agree(overrides: tuple[str, ...]) -> None:
    told = []
    for device in (CPU, torch.device("cuda")):
        dataset, learner, phi = on(device, overrides)
        gradient: MetaParameters = {}
        if isinstance(learner.algorithm, Learned):
            gradient, _ = MetaGradient(learner, 3, compiled=False)(phi, dataset.sample("train", 0, 7))
        told.append((phi, gradient, Evaluator(learner)(phi, dataset, "test", 5).curves))
    torch.testing.assert_close(told[1], told[0], rtol=1e-9, atol=1e-9, check_device=False)


@pytest.mark.parametrize("recorded", [False, True], ids=["compiled", "recorded as graphs"])
def test_compiled_meta_gradients_agree_and_stay(recorded: bool) -> None:
    """In chunks, whose results are kept while the next is computed; thrice, for graphs are replayed from then on."""
    dataset, learner, phi = on(torch.device("cuda"), ("algorithm=maml",))
    eager = MetaGradient(learner, 3, compiled=False)
    with cuda_graphs() if recorded else nullcontext():
        compiled = MetaGradient(learner, 3, compiled=True)
        found = [compiled(phi, dataset.sample("train", step, 9))[0] for step in range(4)]
    wanted = [eager(phi, dataset.sample("train", step, 9))[0] for step in range(4)]
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("override", ["device.compile=false", "device.compile=true", "device.cuda_graphs=true"])
def test_a_run_on_the_gpu(command, override: str) -> None:  # type: ignore[no-untyped-def]
    compiles = [] if override.startswith("device.compile") else ["device.compile=true"]
    tiny = ("dataset=sinusoid", *MLP, "debug=fast", "algorithm.inner_lr=0.01", "device=cuda")
    code, out, err = command(*tiny, *compiles, override)
    assert code == 0, err
    assert torch.cuda.get_device_name() in out
    assert "going on without" not in out + err
