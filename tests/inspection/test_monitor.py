"""When figures are made during training, and their tags."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

from fake_runs import Command
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from metarun.inspection.monitor import evenly


@given(total=st.integers(1, 300), most=st.integers(1, 40))
def test_figures_are_evenly_spaced(total: int, most: int) -> None:
    chosen = [number for number in range(1, total + 1) if evenly(number, total, most)]
    assert len(chosen) == min(total, most)
    assert chosen[-1] == total
    apart = {later - earlier for earlier, later in pairwise([0, *chosen])}
    assert max(apart) - min(apart) <= 1


def test_a_run_without_figures_does_not_import_matplotlib(tmp_path: Path) -> None:
    small = ["debug=fast", "dataset=sinusoid", "model=mlp", "engine.steps=2", "engine.val_every=2", "device.name=cpu"]
    program = "import sys; from metarun.command import cli; cli.main(sys.argv[1:]); print('matplotlib' in sys.modules)"
    for tracking, imported in (("scalars", "False"), ("default", "True")):
        arguments = [*small, f"tracking={tracking}", f"hydra.run.dir={tmp_path / tracking}"]
        run = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
        assert run.stdout.splitlines()[-1] == imported


def test_gradient_curves_have_one_group_each(command: Command) -> None:
    """Including the heads of a hypernetwork, whose names have slashes."""
    small = ("debug=fast", "engine.steps=2", "engine.val_every=2", "engine.val_episodes=2", "engine.test_episodes=2")
    parts = ("dataset=sinusoid", "model=mlp", "model.hidden=[4]", "hypernet=full", "embedding=support")
    assert command(*small, *parts, "device.name=cpu", "tracking.gradient_tasks=2", "hydra.run.dir=run")[0] == 0
    events = EventAccumulator("run", size_guidance={"scalars": 1})
    events.Reload()
    groups = {tag.partition("/")[0] for tag in events.Tags()["scalars"]}
    assert {group for group in groups if "hypernet" in group} == set()
    assert any(tag.startswith("outer-gradient/hypernet.heads.layers.0") for tag in events.Tags()["scalars"])
