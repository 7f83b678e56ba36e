"""The GPU computes what the CPU does: the same tasks, start, meta-gradients and episodes."""

from dataclasses import replace

import pytest
import torch
from builders import ALGORITHMS, CPU, MLP, algorithm, settings

from metarun.algorithms.base import Learned
from metarun.core.kinds import Regression
from metarun.datasets.base import Dataset
from metarun.engine.evaluation import Evaluator
from metarun.engine.meta_gradient import MetaGradient
from metarun.learner.learner import Learner, MetaParameters, remember
from metarun.setup import assemble
from metarun.training.outer_optimizer import OuterOptimizer
from metarun.training.progress import TrainingLog
from metarun.training.whole_step import WholeStep

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

RIDGE = {"metaopt": ("algorithm.head=ridge",)}  # a support vector machine has no targets
REGRESSING = [
    (f"algorithm={name}", *RIDGE.get(name, ()))
    for name in ALGORITHMS
    if isinstance(Regression(), algorithm(name).kinds)
]
MAKING = [
    ("hypernet=full", "embedding=support"),
    ("hypernet=chunked", "embedding=learned", "dataset.tasks=4"),
    ("hypernet=lowrank", "embedding=descriptor"),
    ("hypernet=film", "embedding=fisher"),
]


def on(
    device: torch.device, overrides: tuple[str, ...], letters: bool = False
) -> tuple[Dataset, Learner, MetaParameters]:
    data = ("dataset=glyphs", "model.channels=4") if letters else ("dataset=sinusoid", *MLP)
    chosen = settings(*data, *overrides, "device.precision=float64")
    dataset = chosen.dataset.load(0, device, torch.float64)
    return dataset, *assemble.compose(chosen, dataset, device)


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


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("recorded", [False, True], ids=["launched", "recorded"])
def test_meta_gradients_agree_and_stay(compiled: bool, recorded: bool) -> None:
    """In chunks, whose results are kept while the next is computed, with tasks left over; φ changes in between."""
    dataset, learner, phi = on(torch.device("cuda"), ("algorithm=maml",))
    eager, other = (MetaGradient(learner, 3, each) for each in (False, compiled))
    if recorded:
        other = other.recorded()
    found, wanted = [], []
    for step in range(4):
        batch = dataset.sample("train", step, 10)
        found.append(other(phi, batch)[0])
        wanted.append(eager(phi, batch)[0])
        for tensor in phi["theta"].values():
            tensor.mul_(0.9)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    assert not (recorded and other.gradient.failed)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(set(ALGORITHMS) - {"r2d2", "metaopt"}))
def test_algorithms_can_be_recorded(name: str) -> None:
    """All but those that solve systems of equations, for which PyTorch calls libraries that a graph cannot hold."""
    dataset, learner, phi = on(torch.device("cuda"), (f"algorithm={name}",), letters=name != "joint")
    batches = [dataset.sample("train", step, 3) for step in range(2)]
    if isinstance(learner.algorithm, Learned):
        plain = MetaGradient(learner, None, compiled=False)
        recorded = plain.recorded()
        recorded(phi, batches[0])
        assert not recorded.gradient.failed  # type: ignore[attr-defined]
        torch.testing.assert_close(recorded(phi, batches[1]), plain(phi, batches[1]), rtol=1e-7, atol=1e-7)
    evaluator = Evaluator(learner)
    replayed = evaluator.recorded()
    for whole in (False, True):
        replayed.curves(phi, batches[0], whole)
        found, wanted = (each.curves(phi, batches[1], whole).metrics for each in (replayed, evaluator))
        torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-7)
    assert not any(curves.failed for curves in replayed._curves.values())  # type: ignore[attr-defined]


@pytest.mark.parametrize("override", ["device.compile=false", "device.compile=true", "device.cuda_graphs=false"])
def test_a_run_on_the_gpu(command, override: str) -> None:  # type: ignore[no-untyped-def]
    tiny = ("dataset=sinusoid", *MLP, "debug=fast", "algorithm.inner_lr=0.01", "device=cuda")
    code, out, err = command(*tiny, override)
    assert code == 0, err
    assert torch.cuda.get_device_name() in out
    assert "going on without" not in out + err


@pytest.mark.parametrize("outer", ["plain", "reptile"])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_a_whole_step_is_its_parts(outer: str, compiled: bool) -> None:
    """Reptile's outer loop is plain gradient descent; here with momentum."""
    dataset, learner, phi = on(torch.device("cuda"), ("algorithm=reptile" if outer == "reptile" else "algorithm=maml",))
    algorithm = learner.algorithm
    assert isinstance(algorithm, Learned)
    chosen = replace(algorithm.outer, momentum=0.9)
    other = {group: {name: tensor.clone() for name, tensor in tensors.items()} for group, tensors in phi.items()}
    whole = WholeStep(
        algorithm, phi, dataset, 5, MetaGradient(learner, None, compiled), OuterOptimizer(chosen, phi, clip=1.0)
    )
    assert whole.trusted(0, 0.01)
    torch.testing.assert_close(phi, other, rtol=0, atol=0)
    plain, optimizer = MetaGradient(learner, None, compiled=False), OuterOptimizer(chosen, other, clip=1.0)
    for step in range(6):
        metrics, norm = whole(step, 0.01 / (step + 1))
        gradient, wanted = plain(other, dataset.sample("train", step, 5))
        size = optimizer.step(gradient, 0.01 / (step + 1), wanted.values())
        remember(other, gradient, optimizer.frozen)
        torch.testing.assert_close((metrics, norm), (wanted, size), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(phi, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "overrides",
    [("dataset=sinusoid", *MLP), ("dataset=glyphs", "algorithm=maml_pp"), ("dataset=glyphs", "algorithm=protonet")],
    ids=" ".join,
)
def test_no_meta_update_waits_for_the_gpu(command, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    """Between two looks; whatever waits in a step fails it."""
    told, seen = TrainingLog.step, []

    def strict(self, step, *arguments):  # type: ignore[no-untyped-def]
        seen.append(step)
        told(self, step, *arguments)
        torch.cuda.set_sync_debug_mode("error" if 5 <= step < 15 else "default")

    monkeypatch.setattr(TrainingLog, "step", strict)
    few = ("engine.steps=20", "engine.val_every=20", "engine.log_every=20", "engine.checkpoint_every=20")
    small = ("engine.meta_batch_size=2", "engine.val_episodes=2", "engine.test_episodes=2", "tracking=scalars")
    try:
        code, _, err = command(*overrides, *few, *small, "device=cuda", "device.compile=false")
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert code == 0, err
    assert seen == list(range(1, 21))
