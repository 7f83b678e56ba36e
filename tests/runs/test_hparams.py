"""A run's row on the HParams page."""

import time
from contextlib import suppress
from pathlib import Path

import pytest
from builders import settings
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.plugins.hparams.metadata import (
    parse_session_end_info_plugin_data,
    parse_session_start_info_plugin_data,
)

from metarun.core.errors import Interrupted, UserError
from metarun.runs.board import Board
from metarun.runs.hparams import columns, metrics


def test_single_run_has_default_columns() -> None:
    assert columns(settings().plain, ()) == {
        "dataset": "glyphs", "model": "conv4", "embedding": "none", "hypernet": "none", "algorithm": "maml", "seed": 0,
        "dataset.ways": 5, "dataset.shots": 1, "algorithm.inner_lr": 0.4, "algorithm.outer.lr": 0.003,
    }  # fmt: skip


def test_missing_keys_are_left_out() -> None:
    row = columns(settings("dataset=sinusoid", "model=mlp", "algorithm=cnp").plain, ())
    assert row.keys().isdisjoint({"dataset.ways", "algorithm.inner_lr"})
    assert row["dataset.shots"] == 10


def test_job_of_a_sweep_has_swept_keys() -> None:
    plain = settings("algorithm=meta_sgd", "algorithm.inner_lr=[0.1,0.2]", "engine.transductive=true").plain
    swept = ("algorithm", "algorithm.inner_lr", "engine.transductive", "engine.gradient_clip", "seed")
    assert columns(plain, swept) == {
        "algorithm": "meta_sgd", "algorithm.inner_lr": "[0.1,0.2]", "engine.transductive": "true",
        "engine.gradient_clip": "null", "seed": 0,
    }  # fmt: skip


def test_final_metrics_match_result() -> None:
    stages = {
        "meta_test": {"metrics": {"mse": {"mean": 1.5}, "mae": {"mean": 1.0}}, "pooled": {"explained_variance": 0.4}},
        "meta_val": {"metrics": {"mse": {"mean": 2.5}}},
        "baselines": {"metric": "mse", "best": "ridge", "methods": {"ridge": {"mean": 1.25}, "other": {"mean": 9.0}}},
    }
    assert metrics(stages) == {
        "mse meta-test": 1.5, "mae meta-test": 1.0, "mse meta-val": 2.5, "explained_variance meta-test": 0.4,
        "mse best baseline": 1.25,
    }  # fmt: skip


def run(folder: Path, row: dict[str, str | float], error: BaseException | None, step: int = 0) -> None:
    """A run that ends with ``error``, or successfully."""
    with suppress(BaseException), Board(folder, step, row) as board:
        board.scalars("meta-val", {"mse": 1.0}, step + 1)
        if error is not None:
            raise error


def content(folder: Path, tag: str) -> bytes:
    events = EventAccumulator(str(folder)).Reload()
    data: bytes = events.SummaryMetadata(tag).plugin_data.content
    return data


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, Status.STATUS_SUCCESS),
        (UserError("diverged"), Status.STATUS_FAILURE),
        (ValueError("a bug"), Status.STATUS_FAILURE),
        (Interrupted("stopped"), Status.STATUS_UNKNOWN),
        (KeyboardInterrupt(), Status.STATUS_UNKNOWN),
    ],
)
def test_status_of_the_session(tmp_path: Path, error: BaseException | None, status: int) -> None:
    begun = time.time()
    row: dict[str, str | float] = {"algorithm": "maml", "seed": 3}
    run(tmp_path, row, error)
    start = parse_session_start_info_plugin_data(content(tmp_path, "_hparams_/session_start_info"))
    assert {name: value.string_value or value.number_value for name, value in start.hparams.items()} == row
    assert begun <= start.start_time_secs <= time.time()
    end = parse_session_end_info_plugin_data(content(tmp_path, "_hparams_/session_end_info"))
    assert end.status == status
    assert start.start_time_secs <= end.end_time_secs <= time.time()
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_resumed_run_has_the_last_status(tmp_path: Path) -> None:
    """The page shows the first session end that it finds."""
    run(tmp_path, {"seed": 3}, Interrupted("stopped"))
    run(tmp_path, {"seed": 3}, None, step=1)
    end = parse_session_end_info_plugin_data(content(tmp_path, "_hparams_/session_end_info"))
    assert end.status == Status.STATUS_SUCCESS


def test_run_without_a_row(tmp_path: Path) -> None:
    with Board(tmp_path, 0, None) as board:
        board.scalars("meta-val", {"mse": 1.0}, 1)
    assert len(list(tmp_path.iterdir())) == 1
    assert EventAccumulator(str(tmp_path)).Reload().Tags()["tensors"] == []
