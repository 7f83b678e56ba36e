"""The meta-test: φ evaluated on the data of the run and on further data sets, and its output files."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from tqdm import tqdm

from metarun.core.errors import Interrupted
from metarun.datasets.base import Dataset, class_names, data_name, source_of, task_names
from metarun.engine.evaluation import EvaluationResult, Evaluator, episodes_of
from metarun.inspection.monitor import Monitor
from metarun.inspection.task_embeddings import TaskEmbeddings, task_embeddings
from metarun.runs import baselines, hparams
from metarun.runs.board import Board
from metarun.runs.checkpoint import State
from metarun.runs.files import EPISODES, TEST_DATASETS, episodes_file
from metarun.runs.status import write_status
from metarun.setup.suite import FurtherTest
from metarun.training.best_steps import BestSteps, best_steps, with_test_steps
from metarun.training.experiment import Experiment
from metarun.training.messages import conclude
from metarun.training.results import (
    forgetting,
    further_result,
    markdown,
    protocol,
    result,
    write_embeddings,
    write_episodes,
    write_result,
)
from metarun.training.sizes import sizes


def meta_test(one: Experiment, tested: State) -> None:
    """Meta-test φ of ``tested``, once, and write the result."""
    _MetaTest(one, tested).with_best_steps().run()


@dataclass(frozen=True)
class _Measured:
    """Episodes of the run's own meta-test, of further data sets by name, and of meta-train data in the test's shape,
    ``None`` where φ was trained on other data; and the summary of meta-val.
    """

    test: EvaluationResult
    further: Mapping[str, EvaluationResult]
    train: EvaluationResult | None
    validation: dict[str, Any]


@dataclass(frozen=True)
class _MetaTest:
    """steps: the number of inner steps, where it was chosen on meta-val."""

    one: Experiment
    tested: State
    steps: BestSteps | None = None

    def with_best_steps(self) -> "_MetaTest":
        """The test with the number of inner steps that is best on meta-val, where the settings leave it open."""
        tries = self.one.settings.algorithm.max_tried_steps
        if tries is None:
            return self
        episodes = self._with_steps(tries)._episodes("val", whole_curve=True)
        steps = best_steps(episodes, self.one.learner.problem.kind)
        return replace(self._with_steps(steps.chosen), steps=steps)

    def _with_steps(self, steps: int) -> "_MetaTest":
        """The test with ``steps`` inner steps."""
        one = self.one
        algorithm = with_test_steps(one.settings.algorithm, steps)
        learner = replace(one.learner, algorithm=algorithm)
        if one.monitor is not None:
            one.monitor.learner = learner
        changed = replace(
            one,
            settings=replace(one.settings, algorithm=algorithm),
            learner=learner,
            # Not compiled: what was compared with the eager evaluation has another number of steps.
            evaluator=Evaluator(learner, one.evaluator.chunk, processes=one.processes),
        )
        return replace(self, one=changed)

    def run(self) -> None:
        """Measure, write and show."""
        one = self.one
        measured = _Measured(
            test=self._episodes("test", whole_curve=True, with_baselines=True),
            further={
                more.name: self._episodes("test", whole_curve=True, with_baselines=True, further=more)
                for more in one.tests
            },
            train=self._episodes("train_eval") if self._on_training_data else None,
            validation=self._validation(),
        )
        if one.processes.is_main_process:
            content = self._written(measured)
            if one.board is not None and one.monitor is not None:
                self._show(one.board, one.monitor, measured, content)
            conclude(one.settings, one.folder, content)

    @property
    def _on_training_data(self) -> bool:
        """Whether the dataset is the one that φ was trained on: the same data, divided in the same way."""
        return source_of(self.one.dataset) == self.one.learner.problem.source

    def _validation(self) -> dict[str, Any]:
        """The meta-val figures that selected φ; of a checkpoint to test, measured again with the present protocol."""
        if self.one.settings.trains and self.steps is None:
            assert self.tested.best is not None
            return self.tested.best.metrics
        return self._episodes("val").summary()

    def _episodes(
        self,
        stream: str,
        whole_curve: bool = False,
        with_baselines: bool = False,
        further: FurtherTest | None = None,
    ) -> EvaluationResult:
        """Measure φ on a stream of the run's dataset, or of a further one."""
        one, engine = self.one, self.one.settings.engine
        label = f"meta-{stream.removesuffix('_eval')}{f' {further.name}' if further else ''}"
        asked = engine.val_episodes if stream == "val" else engine.test_episodes
        dataset = further.dataset if further else one.dataset
        evaluator = self._evaluator_of(further) if further else one.evaluator
        count = episodes_of(dataset, stream, asked)
        with tqdm(desc=label, total=count, disable=None if one.processes.is_main_process else True, leave=False) as bar:

            def progress(done: int) -> None:
                bar.update(done - bar.n)
                if one.processes.any(one.stop.asked):
                    raise Interrupted(f"stopped during the meta-test; test again with: {one.resume_command()}")

            phi = self.tested.phi
            return evaluator(phi, dataset, stream, count, whole_curve, progress, with_baselines=with_baselines)

    def _evaluator_of(self, further: FurtherTest) -> Evaluator:
        """The run's own, compiled as it may be, where it takes these tasks too."""
        one = self.one
        if further.alike:
            return one.evaluator
        learner = replace(further.learner, algorithm=one.learner.algorithm)
        planner = replace(one.planner, learner=learner, dataset=further.dataset, decisions={})
        return Evaluator(learner, planner.episodes_at_once(self.tested.phi), processes=one.processes)

    def _written(self, measured: _Measured) -> dict[str, Any]:
        """Write what was measured; returns the content of ``result.json``."""
        one, dataset, source, trained = self.one, self.one.dataset, self.one.learner.problem.source, self.one.state
        training = {
            "dataset": data_name(source),
            "source": dict(source),
            "same_source": self._on_training_data,
            "steps": trained.step,
            "tested_step": self.tested.step,
            "seconds": round(trained.seconds, 3),
            "tasks_per_second": trained.speed(one.settings.engine.meta_batch_size),
            "device": str(one.device),
            **trained.decisions,
        }
        content = result(
            one.learner.problem.kind,
            data_name(source_of(dataset)),
            measured.test,
            measured.train,
            measured.validation,
            # Groups of other data than those trained on have no place in the matrix.
            forgetting(one.learner.problem.kind, dataset, trained.forgetting) if self._on_training_data else None,
            protocol(one.settings, dataset),
            training,
        )
        if one.tests:
            own_protocol = content["protocol"]
            content[TEST_DATASETS] = {
                more.name: further_result(one.settings, more, measured.further[more.name], own_protocol, source)
                for more in one.tests
            }
        content["parameters"] = sizes(one.learner, self.tested.phi)
        if self.steps is not None:
            content["test_steps"] = self.steps.told()
        write_episodes(one.folder / EPISODES, measured.test, *_names(dataset))
        for more in one.tests:
            write_episodes(one.folder / episodes_file(more.name), measured.further[more.name], *_names(more.dataset))
        write_result(one.folder, content)
        # Before pictures are drawn: a run that is killed while they are is done, and a sweep must not run it again.
        write_status(one.folder, "done")
        return content

    def _show(self, board: Board, monitor: Monitor, measured: _Measured, content: dict[str, Any]) -> None:
        """Put on the board what is only looked at; nothing that fails here ends the run."""
        tracking, step, test = self.one.settings.tracking, self.tested.step, measured.test
        board.scalars("meta-test", test.means() | test.pooled, step)
        board.scalars("baselines", baselines.scalars(content["baselines"]), step)
        for name, episodes in measured.further.items():
            board.scalars(f"meta-test {name}", episodes.means() | episodes.pooled, step)
            board.scalars("baselines", baselines.scalars(content[TEST_DATASETS][name]["baselines"], name), step)
        if tracking.hparams:
            board.scalars("final", hparams.metrics(content), step)
            board.scalars("parameters", content["parameters"], step)
        if tracking.text:
            board.text("result", lambda: markdown(content))
        seen = None
        if self.one.settings.embedding.size:
            metric = str(content["metric"])
            with board.attempt("embeddings.csv, and what is made of task embeddings"):
                seen = self._embedded(test.final(metric), metric)
        monitor.on_meta_test(self.tested.phi, step, test, seen, self.one.settings.engine.mode)

    def _embedded(self, values: Tensor, metric: str) -> TaskEmbeddings:
        """What is seen of the meta-test tasks before adaptation, written to a file too."""
        one = self.one
        seen = task_embeddings(one.learner, self.tested.phi, one.dataset, "test", len(values), one.evaluator.chunk)
        write_embeddings(one.folder, seen, values, metric)
        return seen


def _names(dataset: Dataset) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of meta-test tasks and classes, as far as they have any."""
    return task_names(dataset, "test"), class_names(dataset, "test")
