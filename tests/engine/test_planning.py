"""What a run decides about how it computes."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from builders import CPU, MLP, build, settings
from torch.utils._pytree import tree_leaves

from metarun.algorithms.base import Learned
from metarun.engine import device, planning
from metarun.engine.compile import auto_rules, compilation
from metarun.engine.evaluation import EPISODES_AT_ONCE, Evaluator
from metarun.engine.meta_gradient import MetaGradient
from metarun.engine.planning import Planner
from metarun.engine.processes.single import SINGLE_PROCESS
from metarun.learner.learner import MetaParameters
from metarun.setup import assemble

WAVES = ("dataset=sinusoid", *MLP, "engine.meta_batch_size=12")


def planner(*overrides: str, compile: str = "auto", **decisions: Any) -> tuple[Planner, MetaParameters]:
    chosen = settings(*WAVES, *overrides)
    dataset = chosen.dataset.load(0, CPU, torch.float64)
    learner, phi = build(dataset, *WAVES, *overrides)
    return Planner(learner, dataset, chosen.engine, compile, dict(decisions), SINGLE_PROCESS), phi


def short_of_memory(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(planning, "available", lambda device: free)


def test_where_there_is_memory_all_is_computed_at_once() -> None:
    plan, phi = planner()
    assert plan.meta_gradient(phi).chunk == 12
    assert plan.evaluator(phi).chunk == EPISODES_AT_ONCE
    assert plan.decisions == {
        "task_chunk": 12,
        "compile": False,
        "episodes_at_once": EPISODES_AT_ONCE,
        "compile_evaluation": False,
    }


def test_set_number_is_not_a_decision() -> None:
    plan, phi = planner("engine.task_chunk=5")
    assert plan.meta_gradient(phi).chunk == 5
    assert plan.evaluator(phi).chunk == 5
    assert not {"task_chunk", "episodes_at_once"} & set(plan.decisions)


def test_where_memory_is_short_parts_are_computed_to_the_same_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    short_of_memory(monkeypatch, 150_000)
    plan, phi = planner()
    gradient = plan.meta_gradient(phi)
    assert 1 <= gradient.chunk < 12  # type: ignore[operator]
    assert 1 <= plan.evaluator(phi).chunk < EPISODES_AT_ONCE
    batch = plan.dataset.sample("train", 0, 12)
    torch.testing.assert_close(gradient(phi, batch), MetaGradient(plan.learner, None, False)(phi, batch))


def test_one_task_is_tried_without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    short_of_memory(monkeypatch, 0)
    plan, phi = planner()
    assert plan.meta_gradient(phi).chunk == 1


def test_resumed_run_keeps_decisions(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {"task_chunk": 4, "compile": False, "episodes_at_once": 3, "compile_evaluation": False, "threads": 3}
    monkeypatch.setattr(planning, "workload", lambda *given: pytest.fail("asked again"))
    short_of_memory(monkeypatch, 0)
    plan, phi = planner(**kept)
    assert plan.meta_gradient(phi).chunk == 4
    assert plan.evaluator(phi).chunk == 3
    assert plan.threads(phi, settings("device.threads=2").device) == 3
    assert plan.decisions == kept


def test_what_cannot_be_estimated_is_tried(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    short_of_memory(monkeypatch, 1000)

    def fails(*given: object) -> int:
        raise RuntimeError("an operation without a shape\nsecond line")

    monkeypatch.setattr(planning, "fitting", fails)
    plan, phi = planner()
    with caplog.at_level("INFO"):
        assert plan.meta_gradient(phi).chunk == 12
    assert "memory could not be estimated (an operation without a shape)" in caplog.text


@pytest.mark.parametrize(
    ("compile", "pays", "wanted"),
    [("auto", True, True), ("auto", False, False), ("true", False, True), ("false", True, False)],
)
def test_compiling_follows_the_rule_unless_set(
    compile: str, pays: bool, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, phi = planner("engine.val_every=10", compile=compile)
    compiled = MetaGradient(plan.learner, 12, compiled=False)
    monkeypatch.setattr(auto_rules, "pays", lambda *given: pays)
    monkeypatch.setattr(compilation, "compiled_if_equal", lambda *given: compiled)
    monkeypatch.setattr(compilation, "evaluates_alike", lambda *given: True)
    assert (plan.meta_gradient(phi) is compiled) == wanted
    assert plan.evaluator(phi).compiled == wanted
    assert (plan.decisions["compile"], plan.decisions["compile_evaluation"]) == (wanted, wanted)


def test_what_compiles_to_something_else_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, phi = planner(compile="true")
    monkeypatch.setattr(compilation, "compiled_if_equal", lambda learner, eager, *given: eager)
    monkeypatch.setattr(compilation, "evaluates_alike", lambda *given: False)
    plan.meta_gradient(phi)
    assert not plan.evaluator(phi).compiled
    assert (plan.decisions["compile"], plan.decisions["compile_evaluation"]) == (False, False)


def chosen(*overrides: str, compile: str = "auto") -> tuple[Planner, MetaParameters]:
    """The planner of a run as the command line says it."""
    given = settings("device.name=cpu", *overrides)
    dataset = given.dataset.load(0, CPU, torch.float32)
    learner, phi = assemble.compose(given, dataset, CPU)
    return Planner(learner, dataset, given.engine, compile, {}, SINGLE_PROCESS), phi


FILM = ("experiment=film_families",)
WIDE = (*FILM, "hypernet=none", "embedding=none", "model.hidden=[140,140,140]")


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        ((*FILM, "engine.steps=4000"), True),  # measured: 388 tasks/s eager, 2,650 compiled, 150 s of compiling
        ((*WIDE, "engine.steps=4000"), True),  # 142 and 500 tasks/s
        ((*FILM, "engine.steps=1000"), False),
        ((*WIDE, "engine.steps=500"), False),
        (("experiment=maml_sinusoid",), True),
        (("experiment=maml_sinusoid", "engine.steps=1000"), False),
        ((), False),
        (("engine.steps=50000",), True),
    ],
    ids=str,
)
def test_meta_step_is_compiled_if_it_saves_time(overrides: tuple[str, ...], wanted: bool) -> None:
    plan, phi = chosen(*overrides)
    assert plan.wants_compiled(phi) == wanted


def test_evaluation_is_decided_separately_from_the_meta_step() -> None:
    """Compiling it took 78 s for the five evaluations of the first run."""
    plan, phi = chosen(*FILM, "engine.steps=4000")
    assert plan.wants_compiled(phi)
    assert not plan.wants_compiled_evaluation(phi)
    plan, phi = chosen(*FILM, "engine.steps=4000", "engine.val_every=4")
    assert plan.wants_compiled_evaluation(phi)


def test_parts_of_a_meta_batch_count_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(auto_rules, "pays", lambda computations, device: asked.append(computations[0][1]))
    for chunk, times in (("12", 1000), ("5", 3000)):
        plan, phi = planner(f"engine.task_chunk={chunk}")
        plan.wants_compiled(phi)
        assert asked.pop() == times


def test_what_cannot_be_counted_is_not_compiled(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*given: object) -> int:
        raise RuntimeError("an operation without a shape\nsecond line")

    monkeypatch.setattr(planning, "workload", fails)
    plan, phi = planner("engine.steps=1000000")
    with caplog.at_level("INFO"):
        assert not plan.wants_compiled(phi)
        assert not plan.wants_compiled(phi)
    assert caplog.text.count("operations could not be estimated (an operation without a shape)") == 1


@pytest.mark.parametrize(
    ("overrides", "given", "threads"),
    [
        (FILM, "auto", 1),
        (WIDE, "auto", 1),  # 144 tasks/s with one thread, 35 with two on two cores, another job beside it
        (("experiment=maml_sinusoid",), "null", 1),
        ((), "auto", 8),
        (("algorithm=scratch", "model.channels=4"), "auto", 1),  # nothing but evaluations
        (FILM, "5", 5),
        ((), "5", 5),
    ],
    ids=str,
)
def test_small_operations_are_not_shared_by_threads(
    overrides: tuple[str, ...], given: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "_THREADS", 8)
    plan, phi = chosen(*overrides)
    assert plan.threads(phi, settings(f"device.threads={given}").device) == threads
    assert plan.decisions["threads"] == threads


def test_out_of_memory_halves_the_chunk(caplog: pytest.LogCaptureFixture) -> None:
    plan, phi = planner()
    batch = plan.dataset.sample("train", 0, 12)
    gradient = MetaGradient(plan.learner, None, compiled=False)
    computed = gradient.gradient

    def narrow(phi: MetaParameters, tasks: Any, draws: Any, *counted: Any) -> Any:
        if len(tasks.number) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return computed(phi, tasks, draws, *counted)

    gradient.gradient = narrow
    with caplog.at_level("INFO"):
        found = gradient(phi, batch)
    assert gradient.chunk == 3
    assert "out of memory with 12 tasks at once: going on with 6" in caplog.text
    torch.testing.assert_close(found, MetaGradient(plan.learner, None, False)(phi, batch))


def test_an_evaluation_out_of_memory_measures_the_same_in_halves() -> None:
    plan, phi = planner()
    evaluator, wanted = Evaluator(plan.learner, 8), Evaluator(plan.learner, 8)(phi, plan.dataset, "test", 11)
    computed = dict(evaluator._curves)

    def narrow(phi: MetaParameters, tasks: Any, draws: Any) -> Any:
        if len(tasks.number) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return computed[True](phi, tasks, draws)

    evaluator._curves[True] = narrow
    found = evaluator(phi, plan.dataset, "test", 11)
    assert evaluator._at_once == 2
    torch.testing.assert_close(found.curves, wanted.curves)


def test_differing_evaluation_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: compiling changes the inner step size."""
    plan, phi = planner()
    batch = plan.dataset.sample("test", 0, 5)
    eager = Evaluator(plan.learner, 5)
    assert isinstance(plan.learner.algorithm, Learned)
    other = replace(plan.learner, algorithm=replace(plan.learner.algorithm, inner_lr=0.5))  # type: ignore[call-arg]

    class Compiled(Evaluator):
        def __init__(self, learner: Any, chunk: int, compiled: bool = False) -> None:
            super().__init__(other if wrong and compiled else learner, chunk, compiled=False)

    monkeypatch.setattr(compilation, "Evaluator", Compiled)
    for wrong in (False, True):
        assert compilation.evaluates_alike(eager, phi, batch) != wrong


@pytest.mark.parametrize(
    "name", [pytest.param("maml", marks=pytest.mark.compiling), pytest.param("protonet", marks=pytest.mark.slow)]
)
def test_a_compiled_evaluation_measures_the_same(name: str) -> None:
    chosen = ("dataset=glyphs", "model.channels=4", "model.layers=2", f"algorithm={name}")
    dataset = settings(*chosen).dataset.load(0, CPU, torch.float64)
    learner, phi = build(dataset, *chosen)
    torch.compiler.reset()
    compiled, eager = Evaluator(learner, 4, compiled=True), Evaluator(learner, 4)
    assert compilation.evaluates_alike(eager, phi, dataset.sample("test", 0, 4))
    for whole in (False, True):
        found, wanted = (each(phi, dataset, "test", 6, whole) for each in (compiled, eager))
        torch.testing.assert_close(found.curves, wanted.curves, rtol=0, atol=1e-9)
    assert all(leaf.isfinite().all() for leaf in tree_leaves(phi))
