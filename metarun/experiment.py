"""One experiment, from settings to result: the table of contents of a run."""

from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from tqdm import tqdm

from metarun.composition import compose
from metarun.config.saved import checkpoint_file
from metarun.config.settings import Settings
from metarun.datasets.base import Dataset
from metarun.engine import checkpoint
from metarun.engine.checkpoint import State
from metarun.engine.device import keep_freed_memory
from metarun.engine.evaluation import Episodes, evaluate
from metarun.engine.stopping import StopRequest, listening
from metarun.engine.training import Training, best_file, last_file
from metarun.errors import Interrupted, UserError
from metarun.learner import Learner, MetaParameters
from metarun.tracking.board import Board
from metarun.tracking.files import write_text
from metarun.tracking.log import TrainingLog
from metarun.tracking.results import protocol, result, write_episodes, write_result
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
    state = _first_state(settings, folder, phi, device)
    torch.set_num_threads(state.decisions["threads"])
    introduce(settings, folder, dataset, phi, device)
    config = yaml.safe_dump({**settings.plain, "resume": None}, sort_keys=False, allow_unicode=True)
    write_text(folder / "config.yaml", config)
    write_status(folder, "running")
    with listening() as stop, Board(folder, state.step) as board:
        board.text("config", f"```yaml\n{config}```")
        experiment = Experiment(settings, folder, learner, dataset, board, stop)
        try:
            best = state
            if settings.mode == "train":
                experiment.train(state)
                best = checkpoint.load(best_file(folder), phi, device)
            value = experiment.test(best, state)
        except Interrupted as interruption:
            write_status(folder, "interrupted", reason=str(interruption))
            raise
    write_status(folder, "done")
    return value


def _first_state(settings: Settings, folder: Path, phi: MetaParameters, device: torch.device) -> State:
    """Where the run begins: at the start, where a stopped run stood, or at the checkpoint to test."""
    if settings.resume is not None:
        state = checkpoint.load(last_file(folder), phi, device)
        if state.step > settings.engine.steps:
            raise UserError(f"engine.steps={settings.engine.steps}: the run has done {state.step:,} already; give more")
        return state
    if settings.mode == "test":
        assert settings.checkpoint is not None
        state = checkpoint.load(checkpoint_file(settings.checkpoint), phi, device)
        if state.best is None:
            raise UserError(
                f"checkpoint={settings.checkpoint}: saved before the run's first validation (step {state.step:,}); "
                "resume the run first"
            )
        return state
    return State(
        step=0,
        phi=phi,
        optimiser={},
        best=None,
        decisions={
            "compile": {"auto": None, "true": True, "false": False}[settings.device.compile],
            "threads": settings.device.thread_count(),
        },
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
        with TrainingLog(self.board, metric, engine.steps, state.step, engine.log_every) as log:
            training = Training(self.learner, self.dataset, engine, self.settings.plain, self.folder, log, state)
            training.run(self.stop)

    def test(self, best: State, trained: State) -> float:
        """Meta-test the best checkpoint, once, and leave the result; returns its meta-val metric."""
        kind = self.dataset.kind("test")
        test = self._episodes(best.phi, "test")
        train = self._episodes(best.phi, "train_eval")
        assert best.best is not None
        training = {
            "steps": trained.step,
            "best_step": best.best.step,
            "seconds": round(trained.seconds, 3),
            "tasks_per_second": trained.speed(self.settings.engine.meta_batch_size),
            **trained.decisions,
        }
        content = result(kind, test, train, best.best.metrics, protocol(self.settings, self.dataset), training)
        write_episodes(self.folder, test)
        self.board.scalars("meta-test", {name: test.mean(name) for name in test.curves}, best.best.step)
        self.board.adaptation(test, kind.metric, best.best.step)
        write_result(self.folder, content)
        conclude(self.settings, self.folder, content)
        return float(best.best.metrics[kind.metric]["mean"])

    def _episodes(self, phi: MetaParameters, stream: str) -> Episodes:
        engine = self.settings.engine
        label = f"meta-{stream.removesuffix('_eval')}"
        with tqdm(desc=label, total=engine.test_episodes, disable=None, leave=False) as bar:

            def progress(done: int) -> None:
                bar.update(done - bar.n)
                if self.stop.asked:
                    raise Interrupted(f"stopped during the meta-test; test again with: metarun {self._again()}")

            count, chunk = engine.test_episodes, engine.task_chunk
            return evaluate(
                self.learner, phi, self.dataset, stream, count, chunk, whole_curve=stream == "test", progress=progress
            )

    def _again(self) -> str:
        if self.settings.mode == "train":
            return f"resume={self.folder}"
        return f"mode=test checkpoint={self.settings.checkpoint}"
