"""One experiment, from settings to result: the table of contents of a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from tqdm import tqdm

from metarun.algorithms.base import Learned
from metarun.composition import compose
from metarun.config.saved import checkpoint_file, command_line
from metarun.config.settings import Settings
from metarun.datasets.base import Dataset
from metarun.engine import checkpoint
from metarun.engine.attention import attended
from metarun.engine.checkpoint import State
from metarun.engine.device import keep_freed_memory
from metarun.engine.evaluation import Episodes, episodes_of, evaluate
from metarun.engine.insight import insight
from metarun.engine.stopping import StopRequest, listening
from metarun.engine.training import Training, best_file, last_file
from metarun.errors import Interrupted, UserError
from metarun.learner import Learner, MetaParameters
from metarun.tracking.board import Board
from metarun.tracking.files import write_text
from metarun.tracking.log import TrainingLog
from metarun.tracking.results import forgetting, protocol, result, write_embeddings, write_episodes, write_result
from metarun.tracking.status import write_status
from metarun.tracking.words import conclude, introduce


def run(settings: Settings, folder: Path) -> float:
    """Train, validate and meta-test, or meta-test alone; returns the meta-val metric of the tested checkpoint.

    Everything the run leaves is in ``folder``. Raises `UserError` before anything is written there if the settings
    don't fit the data or each other, and `Interrupted` after saving when the user stops it.
    """
    keep_freed_memory()
    device = settings.device.resolve()
    dataset = settings.dataset.load(settings.seed, device, settings.device.dtype)
    learner, phi = compose(settings, dataset, device)
    state = _first_state(settings, dataset, folder, phi, device)
    torch.set_num_threads(state.decisions["threads"])
    introduce(settings, folder, dataset, learner, phi, device)
    config = yaml.safe_dump({**settings.plain, "resume": None}, sort_keys=False, allow_unicode=True)
    write_text(folder / "config.yaml", config)
    write_status(folder, "running")
    with listening() as stop, Board(folder, state.step) as board:
        board.text("config", f"```yaml\n{config}```")
        experiment = Experiment(settings, folder, learner, dataset, board, stop)
        try:
            tested = state
            if settings.mode == "train":
                experiment.train(state)
                tested = checkpoint.load(best_file(folder), phi, device)
            value = experiment.test(tested, state)
        except Interrupted as interruption:
            write_status(folder, "interrupted", reason=str(interruption))
            raise
    write_status(folder, "done")
    return value


def _first_state(
    settings: Settings, dataset: Dataset, folder: Path, phi: MetaParameters, device: torch.device
) -> State:
    """Where the run begins: at the start, where a stopped run stood, or at the checkpoint to test."""
    known = list(dataset.groups) if settings.embedding.knows_tasks else []
    if settings.resume is not None:
        state = checkpoint.load(last_file(folder), phi, device)
        _refuse_other_tasks(state, known)
        if state.step > settings.engine.steps:
            raise UserError(f"engine.steps={settings.engine.steps}: the run has done {state.step:,} already; give more")
        return state
    if settings.mode == "test":
        assert settings.checkpoint is not None
        state = checkpoint.load(checkpoint_file(settings.checkpoint), phi, device)
        _refuse_other_tasks(state, known)
        if state.step and not isinstance(settings.algorithm, Learned):
            raise UserError(
                f"algorithm={settings.plain['choices']['algorithm']}: starts from random parameters, and this "
                f"checkpoint holds those of {state.step:,} meta-updates; run it without mode=test"
            )
        state.decisions["threads"] = settings.device.thread_count()
        return state
    return State(
        step=0,
        phi=phi,
        optimiser={},
        best=None,
        decisions={"threads": settings.device.thread_count()},
        tasks=known,
    )


def _refuse_other_tasks(state: State, known: list[str]) -> None:
    """Rows of a table of task embeddings belong to certain tasks."""
    if state.tasks != known:
        others = sorted(set(state.tasks) ^ set(known)) or state.tasks
        raise UserError(
            f"the checkpoint has embeddings of known tasks that are not those of this dataset: they differ in "
            f"'{others[0]}'; use the dataset that it was trained on"
        )


@dataclass(frozen=True)
class Experiment:
    """The two halves of a run, once its parts stand."""

    settings: Settings
    folder: Path
    learner: Learner
    dataset: Dataset
    board: Board
    stop: StopRequest

    def train(self, state: State) -> None:
        """Meta-train from ``state`` on, which is moved along."""
        engine, metric = self.settings.engine, self.dataset.kind("val").metric
        sequence = engine.order == "sequential"
        with TrainingLog(self.board, metric, engine.steps, state.step, engine.log_every, sequence) as log:
            Training(
                learner=self.learner,
                dataset=self.dataset,
                settings=engine,
                config=self.settings.plain,
                folder=self.folder,
                log=log,
                state=state,
                compile=self.settings.device.compile,
            ).run(self.stop)

    def test(self, tested: State, trained: State) -> float:
        """Meta-test φ of ``tested``, once, and leave the result; returns its meta-val metric."""
        kind = self.dataset.kind("test")
        test = self._episodes(tested.phi, "test", whole_curve=True)
        train = self._episodes(tested.phi, "train_eval")
        training = {
            "steps": trained.step,
            "tested_step": tested.step,
            "seconds": round(trained.seconds, 3),
            "tasks_per_second": trained.speed(self.settings.engine.meta_batch_size),
            "device": str(next(iter(self.learner.model.network.parameters())).device),
            **trained.decisions,
        }
        validation = self._validation(tested)
        forgotten = forgetting(self.dataset, trained.forgetting)
        content = result(kind, test, train, validation, forgotten, protocol(self.settings, self.dataset), training)
        write_episodes(self.folder, test)
        self._look(tested, test.final(kind.metric), kind.metric)
        self.board.scalars("meta-test", {name: test.mean(name) for name in test.curves}, tested.step)
        self.board.adaptation(test, kind.metric, self.settings.engine.mode, tested.step)
        if self.learner.algorithm.attends:
            self.board.attention(attended(self.learner, tested.phi, self.dataset, "test"), tested.step)
        write_result(self.folder, content)
        conclude(self.settings, self.folder, content)
        return float(validation[kind.metric]["mean"])

    def _look(self, tested: State, values: Tensor, metric: str) -> None:
        """Leave what was seen of the meta-test tasks before adaptation, where they have an embedding."""
        if not self.settings.embedding.size:
            return
        chunk = self.settings.engine.task_chunk
        seen = insight(self.learner, tested.phi, self.dataset, "test", len(values), chunk)
        write_embeddings(self.folder, seen, values, metric)
        self.board.insight(seen, values, metric, tested.step)

    def _validation(self, tested: State) -> dict[str, Any]:
        """The meta-val figures that selected φ; of a checkpoint to test, measured anew under the present protocol."""
        if self.settings.mode == "train":
            assert tested.best is not None
            return tested.best.metrics
        return self._episodes(tested.phi, "val").summary()

    def _episodes(self, phi: MetaParameters, stream: str, whole_curve: bool = False) -> Episodes:
        engine = self.settings.engine
        label = f"meta-{stream.removesuffix('_eval')}"
        asked = engine.val_episodes if stream == "val" else engine.test_episodes
        count = episodes_of(self.dataset, stream, asked)
        with tqdm(desc=label, total=count, disable=None, leave=False) as bar:

            def progress(done: int) -> None:
                bar.update(done - bar.n)
                if self.stop.asked:
                    raise Interrupted(f"stopped during the meta-test; test again with: {self._again()}")

            return evaluate(self.learner, phi, self.dataset, stream, count, engine.task_chunk, whole_curve, progress)

    def _again(self) -> str:
        if self.settings.mode == "train":
            return command_line(self.settings.plain, f"resume={self.folder}")
        return command_line(self.settings.plain, "mode=test", f"checkpoint={self.settings.checkpoint}")
