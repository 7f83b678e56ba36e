"""A profile of a few meta-updates."""

import json
from pathlib import Path

import pytest
import torch
from builders import CPU, settings

from metarun.core.errors import UserError
from metarun.engine.settings import SKIPPED
from metarun.setup.assemble import compose
from metarun.training.profiling import profiling, shortly


def test_number_of_profiled_updates(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    x = torch.ones(64, 64)
    with profiling(3, tmp_path, lambda *texts: told.append(texts)) as profiled:
        for step in range(SKIPPED + 5):
            torch.mm(x, x) if SKIPPED <= step < SKIPPED + 3 else x.sin()
            profiled()
    (short, table), events = told[0], json.loads((tmp_path / "profile" / "trace.json").read_text())["traceEvents"]
    assert [event["name"] for event in events if event.get("cat") == "cpu_op"].count("aten::mm") == 3
    assert "aten::sin" not in table
    assert "aten::mm" in table
    assert "1 x  aten::mm" in short
    assert (tmp_path / "profile" / "operations.txt").read_text() == table
    assert len(told) == 1


def test_too_few_meta_updates_to_profile_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"), profiling(3, tmp_path, lambda *texts: pytest.fail("told")) as profiled:
        profiled()
    assert "nothing profiled: fewer than 7 meta-updates were left" in caplog.text


def test_no_profile_without_meta_updates() -> None:
    chosen = settings("debug=profile", "dataset=sinusoid", "model=mlp", "algorithm=scratch")
    dataset = chosen.dataset.load(0, CPU, torch.float32)
    with pytest.raises(UserError, match=r"^engine.profile_steps=5: algorithm=scratch has no meta-updates"):
        compose(chosen, dataset, CPU)


def test_without_steps_nothing_is_done(tmp_path: Path) -> None:
    with profiling(0, tmp_path, lambda *texts: pytest.fail("told")) as profiled:
        profiled()
    assert not list(tmp_path.iterdir())


def test_shares_are_of_all_and_times_of_a_meta_update() -> None:
    lines = shortly([(3000.0, 4, "aten::mm"), (1000.0, 2, "aten::add")], 2).splitlines()
    assert lines[0] == "of a meta-update's 2.0 ms"
    assert lines[1].split() == ["75.0%", "1.50", "ms", "2", "x", "aten::mm"]
    assert lines[2].split() == ["25.0%", "0.50", "ms", "1", "x", "aten::add"]


def test_a_run_too_short_to_be_profiled_is_refused() -> None:
    with pytest.raises(UserError, match=rf"^engine.profile_steps=5: .*; give engine.steps={SKIPPED + 5} or more$"):
        settings("debug=profile", f"engine.steps={SKIPPED + 4}")
    assert settings("debug=profile").engine.profile_steps == 5
