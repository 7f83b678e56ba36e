"""What a compiler could lose is noticed; what rounding does is not taken for a loss. Nothing is compiled here."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from builders import CONV, CPU, HYPERNET, MLP, settings
from torch import Tensor

from metarun.core.tasks import Task, TaskBatch
from metarun.engine.compile import compilation
from metarun.engine.compile.compilation import annealed, apart, compiled_if_equal, evaluates_alike
from metarun.engine.compile.perturbation import perturbed
from metarun.engine.evaluation import Evaluator
from metarun.engine.meta_gradient import MetaGradient
from metarun.learner.learner import Learner, MetaParameters
from metarun.models.memory import MEMORY
from metarun.setup import assemble

SINES = ("dataset=sinusoid", *MLP, "algorithm.inner_lr=0.01")
LETTERS = ("dataset=glyphs", *CONV, "algorithm.inner_steps=2", "algorithm.inner_lr=0.1")
GENERATED = HYPERNET[1:]
PRECISIONS = ["float32", "float64"]

Plant = Callable[[Learner], Learner]


def made(*overrides: str, precision: str = "float32") -> tuple[Learner, MetaParameters, TaskBatch, TaskBatch]:
    """A learner, its first φ, a meta-batch and some episodes."""
    chosen = settings(f"device.precision={precision}", *overrides)
    dataset = chosen.dataset.load(0, CPU, chosen.device.dtype)
    learner, phi = assemble.compose(chosen, dataset, CPU)
    return learner, phi, dataset.sample("train", 0, 4), dataset.sample("test", 0, 4)


class Cut(Learner):
    """The whole path through the embedding is missing."""

    def embed(self, phi: MetaParameters, task: Task, testing: bool) -> Tensor:
        return torch.zeros_like(super().embed(phi, task, testing))


def cut(learner: Learner) -> Learner:
    return Cut(**vars(learner))


def first_order(learner: Learner) -> Learner:
    return replace(learner, algorithm=replace(learner.algorithm, order=1))  # type: ignore[call-arg]


def unpenalized(learner: Learner) -> Learner:
    return replace(learner, penalties=replace(learner.penalties, l2=0.0, embedding=0.0))


def without_signs(learner: Learner) -> Learner:
    """A buffer of the hypernetwork is not what it was."""
    there = compilation.copy.deepcopy(learner)
    signs: Tensor = there.hypernet.signs  # type: ignore[assignment]
    signs.fill_(1)
    return there


def compiling_to(monkeypatch: pytest.MonkeyPatch, plant: Plant, chunk: int | None = None) -> None:
    """Let compiled computations be those of another learner, or in other chunks."""

    class Gradient(MetaGradient):
        def __init__(self, learner: Learner, at_once: int | None, compiled: bool) -> None:
            super().__init__(plant(learner) if compiled else learner, chunk if compiled else at_once, compiled=False)

    class Evaluation(Evaluator):
        def __init__(self, learner: Learner, at_once: int | None = None, compiled: bool = False) -> None:
            super().__init__(plant(learner) if compiled else learner, chunk if compiled else at_once)

    monkeypatch.setattr(compilation, "MetaGradient", Gradient)
    monkeypatch.setattr(compilation, "Evaluator", Evaluation)


def trusted(case: tuple[Learner, MetaParameters, TaskBatch, TaskBatch]) -> tuple[bool, bool]:
    """Whether what was compiled is used: as meta-gradient, as evaluation."""
    learner, phi, batch, episodes = case
    eager = MetaGradient(learner, None, compiled=False)
    return compiled_if_equal(learner, eager, phi, batch) is not eager, evaluates_alike(
        Evaluator(learner), phi, episodes
    )


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("hypernet", ["film", "full", "lowrank", "chunked"])
def test_a_cut_embedding_is_noticed(hypernet: str, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = made(*SINES, f"hypernet={hypernet}", *GENERATED, precision=precision)
    learner, phi, batch, _ = case
    whole, without = (MetaGradient(each, None, compiled=False)(phi, batch)[0] for each in (learner, cut(learner)))
    # At the start, where it was compared once, there is nothing to see, or less than the tolerance that there was.
    assert all(
        torch.equal(without[group][name], tensor) for group in ("theta",) for name, tensor in whole[group].items()
    )
    compiling_to(monkeypatch, cut)
    assert trusted(case) == (False, False)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("overrides", [SINES, LETTERS], ids=["sines", "letters"])
@pytest.mark.parametrize("inner_lr", [1e-4, 5e-4, 1e-2])
def test_the_lost_second_order_is_noticed(
    inner_lr: float, overrides: tuple[str, ...], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = made(*overrides, f"algorithm.inner_lr={inner_lr}", precision=precision)
    learner, phi, batch, _ = case
    if inner_lr == 1e-4:
        gradients = [
            MetaGradient(each, None, compiled=False)(phi, batch)[0] for each in (learner, first_order(learner))
        ]
        assert apart(*gradients) < 1e-2  # which passed
    compiling_to(monkeypatch, first_order)
    assert trusted(case) == (False, True)  # evaluations have no second order


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("penalty", ["l2=1e-3", "embedding=1e-2"])
def test_a_lost_regularizer_is_noticed(penalty: str, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = made(*SINES, "hypernet=film", *GENERATED, f"regularizer.{penalty}", precision=precision)
    compiling_to(monkeypatch, unpenalized)
    assert trusted(case) == (False, True)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_lost_buffer_is_noticed(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = made(*SINES, "hypernet=chunked", *GENERATED, precision=precision)
    compiling_to(monkeypatch, without_signs)
    assert trusted(case) == (False, False)


@pytest.mark.parametrize("precision", [*PRECISIONS, "bf16"])
@pytest.mark.parametrize(
    "overrides",
    [
        SINES, (*SINES, "algorithm=maml_pp"), (*SINES, "hypernet=chunked", *GENERATED), (*SINES, "algorithm=meta_sgd"),
        LETTERS, (*LETTERS, "algorithm=reptile"), (*LETTERS, "hypernet=film", *GENERATED),
        ("dataset=glyphs", *CONV, "algorithm=protonet"), ("dataset=glyphs", *CONV, "algorithm=r2d2"),
    ],
    ids=lambda overrides: " ".join(overrides[2:]),
)  # fmt: skip
def test_another_order_of_summation_is_no_loss(
    overrides: tuple[str, ...], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiling_to(monkeypatch, lambda learner: learner, chunk=1)
    assert trusted(made(*overrides, precision=precision)) == (True, True)


def test_what_cannot_be_verified_is_not_used(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    case = made(*SINES)
    compiling_to(monkeypatch, lambda learner: learner)

    def single(learner: Learner) -> Learner:
        raise RuntimeError("expected m1 and m2 to have the same dtype\nmore")

    monkeypatch.setattr(compilation, "_in_float64", single)
    with caplog.at_level("INFO"):
        assert trusted(case) == (False, False)
    assert "there is no float64 to compare with (expected m1 and m2 to have the same dtype): going on" in caplog.text


def test_message_names_the_part_and_the_difference(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    compiling_to(monkeypatch, first_order)
    with caplog.at_level("INFO"):
        trusted(made(*SINES))
    (line,) = (line for line in caplog.messages if "differs" in line)
    assert re.fullmatch(
        r"the compiled meta-gradient differs from the eager one by \S+ of its norm in (φ|theta|\S+ of theta), "
        r"where \S+ is rounding: going on without",
        line,
    )


def test_evaluations_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eager ones: two in the run's precision, as before, and one in float64."""
    calls: list[torch.dtype] = []
    call = MetaGradient.__call__

    def counted(self: MetaGradient, phi: Any, batch: Any, *rest: Any) -> Any:
        calls.append(batch.descriptor.dtype)
        return call(self, phi, batch, *rest)

    monkeypatch.setattr(MetaGradient, "__call__", counted)
    compiling_to(monkeypatch, lambda learner: learner)
    for overrides, compiled in ((SINES, 1), ((*SINES, "algorithm=maml_pp"), 2)):
        learner, phi, batch, _ = made(*overrides)
        calls.clear()
        compiled_if_equal(learner, MetaGradient(learner, None, compiled=False), phi, batch)
        assert calls.count(torch.float64) == 1
        assert calls.count(torch.float32) == 2 + compiled


@pytest.mark.parametrize(
    "overrides",
    [
        (*LETTERS, "algorithm=meta_sgd", "hypernet=film", *GENERATED),
        ("dataset=glyphs", *CONV, "algorithm=protonet", "model.normalization=global"),
    ],
)
def test_displaced_phi_is_another_everywhere_and_always_the_same(overrides: tuple[str, ...]) -> None:
    _, phi, _, _ = made(*overrides)
    once, again = perturbed(phi), perturbed(phi)
    precise = perturbed({group: {n: t.double() for n, t in tensors.items()} for group, tensors in phi.items()})
    for group, tensors in phi.items():
        for name, tensor in tensors.items():
            there = once[group][name]
            assert torch.equal(there, again[group][name])
            torch.testing.assert_close(there.double(), precise[group][name], rtol=1e-6, atol=1e-9)
            assert (there != tensor).double().mean() > 0.99, f"{group} {name}"
            kept = tensor != 0
            assert (there[kept].sign() == tensor[kept].sign()).all()
    assert all((tensor >= 0).all() for name, tensor in once[MEMORY].items() if (phi[MEMORY][name] >= 0).all())
    assert all((tensor > 0).all() for name, tensor in once["algorithm"].items() if name.startswith("rate."))


@pytest.mark.parametrize(
    ("overrides", "anneals"),
    [
        ((*SINES, "algorithm=maml"), False),
        ((*SINES, "algorithm=maml_pp", "algorithm.first_order_share=0", "algorithm.multi_step_share=0"), False),
        # Weights of the losses that end in the middle: at the end there are none to compare.
        ((*SINES, "algorithm=maml_pp", "algorithm.first_order_share=0", "algorithm.multi_step_share=0.1"), True),
        ((*SINES, "algorithm=maml_pp", "algorithm.first_order_share=0.3", "algorithm.multi_step_share=0"), True),
    ],
)
def test_annealed_settings_are_detected(overrides: tuple[str, ...], anneals: bool) -> None:
    learner, _, batch, _ = made(*overrides)
    assert annealed(learner, batch) == anneals
