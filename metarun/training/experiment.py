"""One experiment, from its settings to its parts and its meta-training: the table of contents of a run."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml

from metarun.config.quoting import command_line, path_setting
from metarun.core.errors import Interrupted, Lost
from metarun.core.files import write_text
from metarun.datasets.base import Dataset, data_name, source_of
from metarun.engine.device import keep_freed_memory
from metarun.engine.evaluation import Evaluator
from metarun.engine.planning import Planner
from metarun.engine.processes.single import SINGLE_PROCESS, Processes
from metarun.inspection.monitor import Monitor
from metarun.learner.learner import Learner, MetaParameters
from metarun.runs import checkpoint, hparams
from metarun.runs.board import Board
from metarun.runs.checkpoint import State
from metarun.runs.files import CONFIG, best_file
from metarun.runs.provenance import origin
from metarun.runs.status import write_status
from metarun.setup.assemble import compose
from metarun.setup.settings import Settings
from metarun.setup.suite import FurtherTest, further_tests
from metarun.training.initial_state import first_state
from metarun.training.loop import Training
from metarun.training.messages import introduce
from metarun.training.part_checks import check_user_parts, check_user_test_data
from metarun.training.progress import Silence, TrainingLog
from metarun.training.stopping import StopRequest, listening

Refusal = Callable[[Settings, Dataset, Learner, MetaParameters], None]


@contextmanager
def experiment(
    settings: Settings,
    folder: Path,
    processes: Processes = SINGLE_PROCESS,
    swept: Sequence[str] = (),
    stop_file: Path | None = None,
    refuse: Refusal | None = None,
) -> Iterator["Experiment"]:
    """One run with all its parts, to be trained, tested, or both, within the context.

    Everything the run leaves is in ``folder``, written by the first of ``processes``. ``swept``: the groups, and the
    full names of keys, that tell the jobs of a sweep apart; a run by itself has none. ``stop_file``: asks to stop when
    it appears. ``refuse``: raises `UserError` for parts that do not suit the mode.

    Raises `UserError` before anything is written there if the settings don't fit the data or each other, `Interrupted`
    after saving when the user stops it, and `Lost` when another process fails.
    """
    with settings.device.arithmetic(), _experiment(settings, folder, processes, swept, stop_file, refuse) as found:
        yield found


@contextmanager
def _experiment(
    settings: Settings,
    folder: Path,
    processes: Processes,
    swept: Sequence[str],
    stop_file: Path | None,
    refuse: Refusal | None,
) -> Iterator["Experiment"]:
    keep_freed_memory()
    device = processes.device(settings.device.resolve())
    with processes.main_process_first():
        dataset = settings.load_dataset(device)
    learner, phi = compose(settings, dataset, device)
    check_user_parts(settings, learner, phi, dataset)
    if refuse is not None:
        refuse(settings, dataset, learner, phi)
    with processes.main_process_first():
        tests = further_tests(settings, dataset, learner, phi, device)
    check_user_test_data(settings, tests)
    state = first_state(settings, dataset, folder, phi, device, processes, tests)
    processes.broadcast(state.phi)
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
    processes.barrier()
    tell = processes.count == 1 and stop_file is None
    trained = learner.problem.source
    other = None if trained == source_of(dataset) else data_name(trained)
    with (
        listening(tell=tell, file=stop_file) as stop,
        _board(settings, folder, state, processes, swept, other) as board,
    ):
        if processes.is_main_process:
            shown = [dataset, *(one.dataset for one in tests)]
            introduce(settings, folder, shown, learner, phi, device, processes.count)
            write_status(folder, "running")
        evaluator = planner.evaluator(state.phi)
        monitor = None
        if board is not None:
            monitor = Monitor(settings.tracking, settings.engine, board, learner, dataset, evaluator.chunk)
        found = Experiment(
            settings, folder, learner, dataset, board, monitor, stop, planner, evaluator, processes, state, tests
        )
        try:
            yield found
        except Interrupted as interruption:
            if processes.is_main_process:
                write_status(folder, "interrupted", reason=str(interruption))
            raise
        except Lost as lost:
            raise lost if lost.told else Lost(f"{lost}; resume with: {found.resume_command()}") from lost


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
    if not processes.is_main_process:
        yield None
        return
    config = yaml.safe_dump({**settings.plain, "resume": None}, sort_keys=False, allow_unicode=True)
    write_text(folder / CONFIG, config)
    row = hparams.columns(settings.plain, swept) if settings.tracking.hparams else None
    if row is not None and trained_on is not None:
        row["trained on"] = trained_on
    with Board(folder, state.step, row) as board:
        if settings.tracking.text:
            board.text("origin", lambda: origin(settings.plain, processes.launcher, swept=bool(swept)))
            board.text("config", lambda: f"```yaml\n{config}```")
        yield board


@dataclass(frozen=True)
class Experiment:
    """A run that has all its parts: to be meta-trained (`meta_train`), and tested (`metarun.training.meta_test`)."""

    settings: Settings
    folder: Path
    learner: Learner
    dataset: Dataset
    board: Board | None
    monitor: Monitor | None
    stop: StopRequest
    planner: Planner
    evaluator: Evaluator
    processes: Processes
    state: State
    """Where the run begins; meta-training moves it along."""
    tests: Sequence[FurtherTest]
    """What it is meta-tested on besides its own data."""

    @property
    def device(self) -> torch.device:
        return next(iter(self.learner.model.network.parameters())).device

    def resume_command(self) -> str:
        """The command that resumes the run, or repeats the test."""
        rest = [path_setting("resume", self.folder)]
        if not self.settings.trains:
            rest = [f"mode={self.settings.mode}", path_setting("checkpoint", str(self.settings.checkpoint))]
        return self.processes.launcher + command_line(self.settings.plain, *rest)


def meta_train(one: Experiment) -> State:
    """Meta-train; returns the state to test: that of the best validation."""
    engine = one.settings.engine
    with _log(one) as log:
        Training(
            learner=one.learner,
            dataset=one.dataset,
            settings=engine,
            config=one.settings.plain,
            folder=one.folder,
            log=log,
            monitor=one.monitor,
            state=one.state,
            planner=one.planner,
            evaluator=one.evaluator,
            processes=one.processes,
            lr_scales={"hypernet": getattr(one.settings.hypernet, "lr_scale", 1.0)},
        ).run(one.stop)
    one.processes.barrier()  # for the first to have saved it
    return checkpoint.load(best_file(one.folder), one.state.phi, one.device)


def _log(one: Experiment) -> TrainingLog:
    if one.board is None:
        return Silence()
    engine, metric = one.settings.engine, one.learner.problem.kind.metric
    sequence, forgetting = engine.order == "sequential", one.settings.tracking.forgetting
    return TrainingLog(one.board, metric, engine.steps, one.state.step, engine.log_every, sequence, forgetting)
