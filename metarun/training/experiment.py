"""One experiment, from settings to result: the table of contents of a run."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from tqdm import tqdm

from metarun.config.quoting import command_line, path_setting
from metarun.core.errors import Interrupted, Lost
from metarun.core.files import write_text
from metarun.datasets.base import Dataset, class_names, data_name, source_of, task_names
from metarun.engine.device import keep_freed_memory
from metarun.engine.evaluation import Episodes, Evaluator, episodes_of
from metarun.engine.planning import Planner
from metarun.engine.processes.alone import ALONE, Processes
from metarun.inspection.insight import Insight, insight
from metarun.inspection.watch import Watch
from metarun.learner.learner import Learner, MetaParameters
from metarun.runs import baselines, checkpoint, session
from metarun.runs.board import Board
from metarun.runs.checkpoint import State
from metarun.runs.files import CONFIG, EPISODES, TEST_DATASETS, best_file, episodes_file
from metarun.runs.origin import origin
from metarun.runs.status import write_status
from metarun.setup.assemble import compose
from metarun.setup.settings import Settings
from metarun.setup.suite import FurtherTest, further_tests
from metarun.training.best_steps import BestSteps, best_steps, with_test_steps
from metarun.training.initial_state import first_state
from metarun.training.loop import Training
from metarun.training.messages import conclude, introduce
from metarun.training.progress import Silence, TrainingLog
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
from metarun.training.soundness import refuse_unsound
from metarun.training.stopping import StopRequest, listening


@contextmanager
def experiment(
    settings: Settings,
    folder: Path,
    processes: Processes = ALONE,
    swept: Sequence[str] = (),
    stop_file: Path | None = None,
) -> Iterator["Experiment"]:
    """One run with all its parts, to be trained, tested, or both, within the context.

    Everything the run leaves is in ``folder``, written by the first of ``processes``. ``swept``: the groups, and the
    full names of keys, that tell the jobs of a sweep apart; a run by itself has none. ``stop_file``: asks to stop when
    it appears. Raises `UserError` before anything is written there if the settings don't fit the data or each other,
    `Interrupted` after saving when the user stops it, and `Lost` when another process fails.
    """
    with settings.device.arithmetic(), _experiment(settings, folder, processes, swept, stop_file) as found:
        yield found


@contextmanager
def _experiment(
    settings: Settings, folder: Path, processes: Processes, swept: Sequence[str], stop_file: Path | None
) -> Iterator["Experiment"]:
    keep_freed_memory()
    device = processes.device(settings.device.resolve())
    with processes.first_ahead():
        dataset = settings.load_dataset(device)
    learner, phi = compose(settings, dataset, device)
    refuse_unsound(settings, learner, phi, dataset)
    with processes.first_ahead():
        tests = further_tests(settings, dataset, learner, phi, device)
    state = first_state(settings, dataset, folder, phi, device, processes, tests)
    processes.follow(state.phi)
    planner = Planner(
        learner,
        dataset,
        settings.engine,
        settings.device.compile,
        state.decisions,
        processes,
        group=0 if settings.engine.order == "sequential" else None,
        record=settings.device.records(device),
    )
    torch.set_num_threads(planner.threads(state.phi, settings.device))
    processes.wait()
    tell = processes.count == 1 and stop_file is None
    trained = learner.problem.source
    other = None if trained == source_of(dataset) else data_name(trained)
    with (
        listening(tell=tell, file=stop_file) as stop,
        _board(settings, folder, state, processes, swept, other) as board,
    ):
        if processes.first:
            shown = [dataset, *(one.dataset for one in tests)]
            introduce(settings, folder, shown, learner, phi, device, processes.count)
            write_status(folder, "running")
        evaluator = planner.evaluator(state.phi)
        watch = None
        if board is not None:
            watch = Watch(settings.tracking, settings.engine, board, learner, dataset, evaluator.chunk)
        found = Experiment(
            settings, folder, learner, dataset, board, watch, stop, planner, evaluator, processes, state, tests
        )
        try:
            yield found
        except Interrupted as interruption:
            if processes.first:
                write_status(folder, "interrupted", reason=str(interruption))
            raise
        except Lost as lost:
            raise lost if lost.told else Lost(f"{lost}; go on with: {found.again()}") from lost


@contextmanager
def _board(
    settings: Settings,
    folder: Path,
    state: State,
    processes: Processes,
    swept: Sequence[str],
    trained_on: str | None,
) -> Iterator[Board | None]:
    """The first process's event files; and the configuration in a file of its own.

    trained_on: the training data set, where that is not the one of the settings.
    """
    if not processes.first:
        yield None
        return
    config = yaml.safe_dump({**settings.plain, "resume": None}, sort_keys=False, allow_unicode=True)
    write_text(folder / CONFIG, config)
    row = session.columns(settings.plain, swept) if settings.tracking.hparams else None
    if row is not None and trained_on is not None:
        row["trained on"] = trained_on
    with Board(folder, state.step, row) as board:
        if settings.tracking.text:
            board.text("origin", lambda: origin(settings.plain, processes.launcher, swept=bool(swept)))
            board.text("config", lambda: f"```yaml\n{config}```")
        yield board


@dataclass(frozen=True)
class Experiment:
    """The two halves of a run, once it has its parts."""

    settings: Settings
    folder: Path
    learner: Learner
    dataset: Dataset
    board: Board | None
    watch: Watch | None
    stop: StopRequest
    planner: Planner
    evaluator: Evaluator
    processes: Processes
    state: State
    """Where the run begins; meta-training moves it along."""
    tests: Sequence[FurtherTest] = ()
    """What it is meta-tested on besides its own data."""
    steps: BestSteps | None = None
    """The number of inner steps at test, where it was chosen on meta-val."""

    def train(self) -> State:
        """Meta-train; returns the state to test: that of the best validation."""
        engine = self.settings.engine
        with self._log(self.state.step) as log:
            Training(
                learner=self.learner,
                dataset=self.dataset,
                settings=engine,
                config=self.settings.plain,
                folder=self.folder,
                log=log,
                watch=self.watch,
                state=self.state,
                planner=self.planner,
                evaluator=self.evaluator,
                processes=self.processes,
                lr_scales={"hypernet": getattr(self.settings.hypernet, "lr_scale", 1.0)},
            ).run(self.stop)
        self.processes.wait()  # for the first to have saved it
        return checkpoint.load(best_file(self.folder), self.state.phi, self._device)

    @property
    def _device(self) -> torch.device:
        return next(iter(self.learner.model.network.parameters())).device

    def _log(self, begun: int) -> TrainingLog:
        if self.board is None:
            return Silence()
        engine, metric = self.settings.engine, self.dataset.kind("val").metric
        sequence = engine.order == "sequential"
        forgetting = self.settings.tracking.forgetting
        return TrainingLog(self.board, metric, engine.steps, begun, engine.log_every, sequence, forgetting)

    def _with_best_steps(self, tested: State) -> "Experiment":
        """The experiment with the number of inner steps that is best on meta-val, where the settings leave it open."""
        tries = self.settings.algorithm.tries_steps
        if tries is None:
            return self
        trying = self._with_steps(tries)
        steps = best_steps(trying._episodes(tested.phi, "val", whole_curve=True), self.dataset.kind("val"))
        return replace(self._with_steps(steps.chosen), steps=steps)

    def _with_steps(self, steps: int) -> "Experiment":
        """The experiment with so many inner steps at test."""
        algorithm = with_test_steps(self.settings.algorithm, steps)
        learner = replace(self.learner, algorithm=algorithm)
        if self.watch is not None:
            self.watch.learner = learner
        return replace(
            self,
            settings=replace(self.settings, algorithm=algorithm),
            learner=learner,
            # Not compiled: what was compared with the eager evaluation has another number of steps.
            evaluator=Evaluator(learner, self.evaluator.chunk, processes=self.processes),
        )

    def test(self, tested: State) -> None:
        """Meta-test φ of ``tested``, once, and write the result."""
        self._with_best_steps(tested)._test(tested)

    def _test(self, tested: State) -> None:
        test = self._episodes(tested.phi, "test", whole_curve=True, with_baselines=True)
        further = {
            one.name: self._episodes(tested.phi, "test", whole_curve=True, with_baselines=True, further=one)
            for one in self.tests
        }
        train = self._episodes(tested.phi, "train_eval") if self._on_training_data() else None
        validation = self._validation(tested)
        if self.processes.first:
            content = self._leave(tested, test, further, train, validation)
            if self.board is not None and self.watch is not None:
                self._show(self.board, self.watch, tested, test, further, content)
            conclude(self.settings, self.folder, content)

    def _on_training_data(self) -> bool:
        """Whether the dataset is the one that φ was trained on: the same data, divided in the same way."""
        return source_of(self.dataset) == self.learner.problem.source

    def _leave(
        self,
        tested: State,
        test: Episodes,
        further: Mapping[str, Episodes],
        train: Episodes | None,
        validation: dict[str, Any],
    ) -> dict[str, Any]:
        """Write what was measured; returns the content of ``result.json``. further: on further data, by name."""
        kind, source, trained = self.dataset.kind("test"), self.learner.problem.source, self.state
        training = {
            "dataset": data_name(source),
            "source": dict(source),
            "same_source": self._on_training_data(),
            "steps": trained.step,
            "tested_step": tested.step,
            "seconds": round(trained.seconds, 3),
            "tasks_per_second": trained.speed(self.settings.engine.meta_batch_size),
            "device": str(self._device),
            **trained.decisions,
        }
        # Groups of other data than those trained on have no place in the matrix.
        forgotten = forgetting(self.dataset, trained.forgetting) if self._on_training_data() else None
        name = data_name(source_of(self.dataset))
        content = result(
            kind, name, test, train, validation, forgotten, protocol(self.settings, self.dataset), training
        )
        for one in self.tests:
            block = further_result(self.settings, one, further[one.name], content["protocol"], source)
            content.setdefault(TEST_DATASETS, {})[one.name] = block
        content["parameters"] = sizes(self.learner, tested.phi)
        names = task_names(self.dataset, "test"), class_names(self.dataset, "test")
        if self.steps is not None:
            content["test_steps"] = self.steps.told()
        write_episodes(self.folder / EPISODES, test, *names)
        for one in self.tests:
            names = task_names(one.dataset, "test"), class_names(one.dataset, "test")
            write_episodes(self.folder / episodes_file(one.name), further[one.name], *names)
        write_result(self.folder, content)
        # Before pictures are drawn: a run that is killed while they are is done, and a sweep must not run it again.
        write_status(self.folder, "done")
        return content

    def _show(
        self,
        board: Board,
        watch: Watch,
        tested: State,
        test: Episodes,
        further: Mapping[str, Episodes],
        content: dict[str, Any],
    ) -> None:
        """Put on the board what is only looked at; nothing that fails here ends the run."""
        tracking, step = self.settings.tracking, tested.step
        board.scalars("meta-test", test.means() | test.pooled, step)
        board.scalars("baselines", baselines.scalars(content["baselines"]), step)
        for name, episodes in further.items():
            board.scalars(f"meta-test {name}", episodes.means() | episodes.pooled, step)
            board.scalars("baselines", baselines.scalars(content[TEST_DATASETS][name]["baselines"], name), step)
        if tracking.hparams:
            board.scalars("final", session.metrics(content), step)
            board.scalars("parameters", content["parameters"], step)
        if tracking.text:
            board.text("result", lambda: markdown(content))
        seen = None
        if self.settings.embedding.size:
            metric = str(content["metric"])
            with board.attempt("embeddings.csv, and what is made of task embeddings"):
                seen = self._embedded(tested, test.final(metric), metric)
        watch.tested(tested.phi, step, test, seen, self.settings.engine.mode)

    def _embedded(self, tested: State, values: Tensor, metric: str) -> Insight:
        """What is seen of the meta-test tasks before adaptation, left in a file too."""
        seen = insight(self.learner, tested.phi, self.dataset, "test", len(values), self.evaluator.chunk)
        write_embeddings(self.folder, seen, values, metric)
        return seen

    def _validation(self, tested: State) -> dict[str, Any]:
        """The meta-val figures that selected φ; of a checkpoint to test, measured anew under the present protocol."""
        if self.settings.trains and self.steps is None:
            assert tested.best is not None
            return tested.best.metrics
        return self._episodes(tested.phi, "val").summary()

    def _episodes(
        self,
        phi: MetaParameters,
        stream: str,
        whole_curve: bool = False,
        with_baselines: bool = False,
        further: FurtherTest | None = None,
    ) -> Episodes:
        """Measure φ on a stream of the run's dataset, or of a further one."""
        engine, processes = self.settings.engine, self.processes
        label = f"meta-{stream.removesuffix('_eval')}{f' {further.name}' if further else ''}"
        asked = engine.val_episodes if stream == "val" else engine.test_episodes
        dataset = further.dataset if further else self.dataset
        evaluator = self._evaluator_of(further) if further else self.evaluator
        count = episodes_of(dataset, stream, asked)
        with tqdm(desc=label, total=count, disable=None if processes.first else True, leave=False) as bar:

            def progress(done: int) -> None:
                bar.update(done - bar.n)
                if processes.any(self.stop.asked):
                    raise Interrupted(f"stopped during the meta-test; test again with: {self.again()}")

            return evaluator(phi, dataset, stream, count, whole_curve, progress, with_baselines=with_baselines)

    def _evaluator_of(self, further: FurtherTest) -> Evaluator:
        """The run's own, compiled as it may be, where it takes these tasks too."""
        if further.alike:
            return self.evaluator
        learner = replace(further.learner, algorithm=self.learner.algorithm)
        return Evaluator(learner, self.evaluator.chunk, processes=self.processes)

    def again(self) -> str:
        """The command that takes up the run, or repeats the test."""
        rest = [path_setting("resume", self.folder)]
        if not self.settings.trains:
            rest = [f"mode={self.settings.mode}", path_setting("checkpoint", str(self.settings.checkpoint))]
        return self.processes.launcher + command_line(self.settings.plain, *rest)
