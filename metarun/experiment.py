"""One experiment, from settings to result: the table of contents of a run."""

import logging
from pathlib import Path
from typing import Any

import torch
import yaml
from tqdm import tqdm

from metarun.composition import compose
from metarun.config.saved import checkpoint_file
from metarun.config.settings import Settings
from metarun.datasets.base import Dataset
from metarun.engine import checkpoint
from metarun.engine.checkpoint import State
from metarun.engine.evaluation import Episodes, evaluate
from metarun.engine.stopping import StopRequest, listening
from metarun.engine.training import Training, best_file, last_file
from metarun.errors import Interrupted
from metarun.learner import Learner, MetaParameters
from metarun.models.base import count
from metarun.tracking.board import Board
from metarun.tracking.files import write_text
from metarun.tracking.log import TrainingLog
from metarun.tracking.results import result, write_episodes, write_result
from metarun.tracking.status import write_status

log = logging.getLogger(__name__)


def run(settings: Settings, folder: Path) -> float:
    """Train, validate and meta-test, or meta-test alone; returns the meta-val metric of the tested checkpoint.

    Everything the run leaves is in ``folder``. Raises `UserError` before anything is written there if the settings
    don't fit the data or each other, and `Interrupted` after saving when the user stops it.
    """
    device = settings.device.resolve()
    dataset = settings.dataset.load(settings.seed, device, settings.device.dtype)
    learner, phi = compose(settings, dataset, device)
    state = _first_state(settings, folder, phi, device)
    torch.set_num_threads(state.decisions["threads"])
    _introduce(settings, folder, dataset, phi, device)
    config = {**settings.plain, "resume": None}
    write_text(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    write_status(folder, "running")
    with listening() as stop, Board(folder, state.step) as board:
        try:
            if settings.mode == "train":
                _train(settings, folder, learner, dataset, board, state, stop)
                state_tested = checkpoint.load(best_file(folder), phi, device)
            else:
                state_tested = state
            value = _test(settings, folder, learner, dataset, board, state_tested, state, stop)
        except Interrupted as interruption:
            write_status(folder, "interrupted", reason=str(interruption))
            raise
    write_status(folder, "done")
    return value


def _first_state(settings: Settings, folder: Path, phi: MetaParameters, device: torch.device) -> State:
    """Where the run begins: at the start, where a stopped run stood, or at the checkpoint to test."""
    if settings.resume is not None:
        return checkpoint.load(last_file(folder), phi, device)
    if settings.mode == "test":
        assert settings.checkpoint is not None
        return checkpoint.load(checkpoint_file(settings.checkpoint), phi, device)
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


def _train(
    settings: Settings,
    folder: Path,
    learner: Learner,
    dataset: Dataset,
    board: Board,
    state: State,
    stop: StopRequest,
) -> None:
    steps = settings.engine.steps
    with TrainingLog(board, dataset.kind("val").metric, steps, state.step, settings.engine.log_every) as training_log:
        Training(learner, dataset, settings.engine, settings.plain, folder, training_log, state).run(stop)


def _test(
    settings: Settings,
    folder: Path,
    learner: Learner,
    dataset: Dataset,
    board: Board,
    tested: State,
    trained: State,
    stop: StopRequest,
) -> float:
    """Meta-test the best checkpoint, once, and leave the result."""
    kind = dataset.kind("test")
    test = _episodes(settings, learner, dataset, tested.phi, "test", folder, stop)
    train = _episodes(settings, learner, dataset, tested.phi, "train_eval", folder, stop)
    assert tested.best is not None
    protocol = {
        **dataset.protocol(),
        "transductive": settings.engine.transductive,
        "normalisation": settings.model.normalisation,
        "inner_steps": settings.algorithm.steps(testing=True),
        "test_episodes": settings.engine.test_episodes,
        "val_episodes": settings.engine.val_episodes,
        "selection": f"best meta-val {kind.metric}, validated every {settings.engine.val_every} steps",
    }
    training = {
        "steps": trained.step,
        "best_step": tested.best.step,
        "seconds": round(trained.seconds, 3),
        "tasks_per_second": trained.speed(settings.engine.meta_batch_size),
        **tested.decisions,
    }
    content = result(kind, test, train, tested.best.metrics, protocol, training)
    write_episodes(folder, test)
    board.scalars("meta-test", {name: test.mean(name) for name in test.curves}, tested.best.step)
    board.adaptation(test, kind.metric, tested.best.step)
    write_result(folder, content)
    _conclude(settings, folder, content, test)
    return float(tested.best.metrics[kind.metric]["mean"])


def _episodes(
    settings: Settings,
    learner: Learner,
    dataset: Dataset,
    phi: MetaParameters,
    stream: str,
    folder: Path,
    stop: StopRequest,
) -> Episodes:
    count = settings.engine.test_episodes
    with tqdm(desc=f"meta-{stream.removesuffix('_eval')}", total=count, disable=None, leave=False) as bar:

        def progress(done: int) -> None:
            bar.update(done - bar.n)
            if stop.asked:
                again = (
                    f"resume={folder}" if settings.mode == "train" else f"mode=test checkpoint={settings.checkpoint}"
                )
                raise Interrupted(f"stopped during the meta-test; test again with: metarun {again}")

        return evaluate(learner, phi, dataset, stream, count, settings.engine.task_chunk, progress)


def _introduce(settings: Settings, folder: Path, dataset: Dataset, phi: MetaParameters, device: torch.device) -> None:
    choices = settings.plain["choices"]
    parts = [f"{choices['model']} ({count(phi['theta']):,} parameters)", _hypernet(choices, phi), choices["algorithm"]]
    threads = (
        f", {torch.get_num_threads()} threads" if device.type == "cpu" else f" ({torch.cuda.get_device_name(device)})"
    )
    log.info(dataset.summary())
    log.info(" · ".join(parts))
    log.info(f"{device}{threads}, {settings.device.precision} · run folder {_short(folder)}")


def _hypernet(choices: dict[str, str], phi: MetaParameters) -> str:
    if choices["hypernet"] == "none":
        return "no hypernetwork"
    return (
        f"hypernetwork {choices['hypernet']} ({count(phi['hypernet']):,}) on embedding {choices['embedding']} "
        f"({count(phi['embedding']):,})"
    )


def _conclude(settings: Settings, folder: Path, content: dict[str, Any], test: Episodes) -> None:
    metric = content["metric"]
    after = content["meta_test"][metric]
    others = "   ".join(f"{name} {value['mean']:.4f}" for name, value in content["meta_test"].items() if name != metric)
    mode = "transductive" if settings.engine.transductive else "inductive"
    log.info(
        f"meta-test   {after['episodes']:,} episodes, best checkpoint (step {content['train']['best_step']:,}), {mode}"
    )
    log.info(f"            {metric} {after['mean']:.4f} ± {after['ci95']:.4f}   {others}")
    before = content["adaptation"][metric]["mean"][0]
    log.info(f"            before adaptation {before:.4f}   gap to meta-train {content['gap'][metric]:+.4f}")
    log.info(f"look        tensorboard --logdir {_short(folder)}")
    if settings.mode == "train":
        log.info(f"again       metarun mode=test checkpoint={_short(folder)}")


def _short(folder: Path) -> Path:
    """The path as the user would type it."""
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
