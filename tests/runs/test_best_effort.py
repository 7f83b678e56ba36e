"""What exists only to be looked at never ends a run: every picture and every kind of event fails in turn."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from metarun.core.errors import Interrupted
from metarun.inspection import figures, monitor
from metarun.runs import best_effort, board
from metarun.runs.best_effort import BestEffort
from metarun.runs.files import best_file
from metarun.training import experiment, meta_test

Command = Callable[..., tuple[int, str, str]]

ENGINE = (
    "engine.steps=3", "engine.meta_batch_size=2", "engine.val_every=3", "engine.val_episodes=2",
    "engine.test_episodes=2", "engine.checkpoint_every=3", "engine.log_every=1", "device.name=cpu",
    "device.threads=1", "device.compile=false", "tracking.tasks=1", "tracking.gradient_tasks=2",
)  # fmt: skip
TINY = (
    "dataset=glyphs", "dataset.ways=2", "dataset.queries=1", "dataset.train_queries=1", "model.channels=2",
    "model.layers=2", *ENGINE,
)  # fmt: skip
RUNS = {
    "made": ("hypernet=film", "hypernet.hidden=[4]", "embedding=support", "algorithm=meta_sgd", *TINY),
    "attending": ("algorithm=matching", *TINY),
    "sequence": (
        "experiment=forgetting_polynomials", "hypernet.hidden=[4]", "model.hidden=[4]", "embedding.fit_steps=3",
        *ENGINE, "engine.profile_steps=0",
    ),
}  # fmt: skip
"""Runs that between them draw and write everything."""
CASES = [
    *(("made", figures, name) for name in (
        "adaptation_figure", "attention_figure", "embedding_figure", "examples_figure", "cosine_figure",
        "projection_figure",
    )),
    *(("made", monitor, name) for name in ("examples", "confusion", "task_gradients", "step_sizes", "task_embeddings")),
    ("made", meta_test, "task_embeddings"),
    ("made", meta_test, "write_embeddings"),
    ("made", meta_test, "markdown"),
    ("made", experiment, "origin"),
    ("made", monitor.layout, "bounds"),
    ("made", monitor.layout, "charts"),
    ("attending", figures, "queries_figure"),
    ("attending", monitor, "attended"),
    ("sequence", figures, "fits_figure"),
    ("sequence", monitor, "fits"),
    ("sequence", figures, "forgetting_figure"),
    *(("made", SummaryWriter, name) for name in (
        "__init__", "add_scalar", "add_figure", "add_histogram", "add_embedding", "add_custom_scalars", "add_text",
        "close",
    )),
    ("made", board, "_add"),
]  # fmt: skip

reference: dict[str, Any] = {}


def planted(*arguments: Any, **by_name: Any) -> Any:
    raise RuntimeError("planted")


def measured(folder: str) -> Any:
    """The figures of a run that is done, and its checkpoint is there."""
    assert json.loads(Path(folder, "status.json").read_text())["status"] == "done"
    assert best_file(Path(folder)).is_file()
    assert Path(folder, "episodes.csv").is_file()
    content = json.loads(Path(folder, "result.json").read_text())
    return {name: content[name] for name in ("meta_test", "meta_val", "meta_train", "gap", "protocol")}


def expected(command: Command, name: str) -> Any:
    if name not in reference:
        code, out, err = command(*RUNS[name], "hydra.run.dir=reference")
        assert code == 0, err
        assert "not drawn" not in out + err
        reference[name] = measured("reference")
        shutil.rmtree("reference")
    return reference[name]


@pytest.mark.parametrize(
    ("run", "place", "name"), CASES, ids=[f"{getattr(place, '__name__', place)}.{name}" for _, place, name in CASES]
)
def test_run_finishes_despite_drawing_errors(
    command: Command, monkeypatch: pytest.MonkeyPatch, run: str, place: Any, name: str
) -> None:
    right = expected(command, run)
    monkeypatch.setattr(place, name, planted)
    code, out, err = command(*RUNS[run], "hydra.run.dir=run")
    assert code == 0, err
    told = [line for line in (out + err).splitlines() if "planted" in line]
    assert told
    assert all(line.startswith("not drawn: ") for line in told)
    assert len(told) == len(set(told)), "each once"
    assert measured("run") == right
    assert "Traceback" in Path("run/metarun.log").read_text()


def test_class_names_are_no_formulas(command: Command) -> None:
    """Matplotlib read `$` in them as one, and the last step of a run failed."""
    noise = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for name in ("$a", "$_{", "b$^$", r"$\x$"):
            folder = Path("money", split, f"{name}{split}")
            folder.mkdir(parents=True)
            for number in range(3):
                Image.fromarray(noise.integers(0, 256, (14, 14), np.uint8)).save(folder / f"{number}.png")
    shape = ("dataset.ways=3", "dataset.shots=1", "dataset.queries=2", "dataset.train_queries=2")
    pictures = ("dataset=image_folder", "dataset.root=money", "dataset.size=14", "dataset.channels=1", *shape)
    code, out, err = command(*pictures, "model.channels=2", "model.layers=2", *ENGINE, "hydra.run.dir=run")
    assert code == 0, err
    assert "not drawn" not in out + err
    assert {"meta-test/confusion", "meta-test/examples", "meta-val/examples"} < set(
        EventAccumulator("run").Reload().Tags()["images"]
    )


def test_stop_request_passes_and_failure_is_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Any] = []
    monkeypatch.setattr(best_effort.log, "warning", lambda *told: said.append(told))
    attempting = BestEffort()
    for _ in range(3):
        with attempting.attempt("a picture"):
            raise ValueError("no")
    assert len(said) == 1
    with pytest.raises(Interrupted), attempting.attempt("a picture"):
        raise Interrupted("stopped")
    with pytest.raises(KeyboardInterrupt), attempting.attempt("a picture"):
        raise KeyboardInterrupt
