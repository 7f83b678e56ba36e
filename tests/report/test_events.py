"""Curves as TensorBoard's own writer leaves them."""

from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from metarun.report.events import curves


def write(folder: Path, steps: range, scale: float = 1.0, purge: int | None = None) -> None:
    with SummaryWriter(str(folder), purge_step=purge, filename_suffix=f".{scale}") as writer:
        for step in steps:
            writer.add_scalar("meta-val/mse", scale * step, step)
        writer.add_text("config", "x")
        writer.add_image("picture", np.zeros((3, 4, 4)), steps[-1])


def test_scalars_match_tensorboard(tmp_path: Path) -> None:
    write(tmp_path, range(5))
    reader = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0})
    reader.Reload()
    expected = {event.step: event.value for event in reader.Scalars("meta-val/mse")}
    assert curves(tmp_path) == {"meta-val/mse": expected}


def test_what_a_resumed_run_wrote_again_replaces_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000, 2000))
    monkeypatch.setattr("time.time", lambda: float(next(clock)))
    write(tmp_path, range(6))
    write(tmp_path, range(3, 5), 10.0, purge=3)
    assert curves(tmp_path)["meta-val/mse"] == {0: 0, 1: 1, 2: 2, 3: 30, 4: 40}


def test_truncated_file_is_read_up_to_its_end(tmp_path: Path) -> None:
    write(tmp_path, range(5))
    (file,) = tmp_path.iterdir()
    content, whole = file.read_bytes(), list(curves(tmp_path)["meta-val/mse"].items())
    assert len(whole) == 5
    for length in range(len(content)):
        file.write_bytes(content[:length])
        found = list(curves(tmp_path).get("meta-val/mse", {}).items())
        assert found == whole[: len(found)]
    assert found == whole  # only the picture, which comes last, was torn


def test_what_is_no_event_file_has_no_curves(tmp_path: Path) -> None:
    assert curves(tmp_path) == {}
    for number, content in enumerate([b"", b"hello, this is no event file", bytes(12) + b"\xff" * 100, b"\xff" * 64]):
        (tmp_path / f"events.out.tfevents.{number}").write_bytes(content)
    assert curves(tmp_path) == {}
