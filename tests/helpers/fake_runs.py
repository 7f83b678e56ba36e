"""A stand-in for runs, for tests of what launches them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from metarun.core.errors import Interrupted
from metarun.engine.processes.single import Processes
from metarun.runs.files import CONFIG, LAST
from metarun.runs.status import write_status
from metarun.setup.settings import Settings

Command = Callable[..., tuple[int, str, str]]
"""What the fixture ``command`` is."""
Experiment = Callable[[Callable[..., Any]], None]
"""What the fixture ``experiment`` is."""


def figures(value: float) -> dict[str, Any]:
    return {"accuracy": {"mean": value, "ci95": 0.1}, "loss": {"mean": 1.0}}


class Runs:
    """Stands for the mode: notes what was run, and does with it what ``acts`` says of its seed."""

    def __init__(self) -> None:
        self.begun: list[tuple[Any, ...]] = []
        self.resumed: list[str] = []
        self.acts: dict[int, Exception] = {}
        self.values: dict[int, float | None] = {}
        self.by_name: dict[tuple[Any, ...], float | Exception] = {}
        self.swept: tuple[str, ...] = ()

    def __call__(
        self, settings: Settings, folder: Path, processes: Processes, swept: Sequence[str], stop_file: Path
    ) -> float:
        self.begun.append((settings.plain["choices"]["algorithm"], settings.seed))
        self.swept = tuple(swept)
        if settings.resume is not None:
            self.resumed.append(folder.name)
        (folder / CONFIG).write_text(yaml.safe_dump({**settings.plain, "resume": None}))
        write_status(folder, "running")
        own = self.by_name.get(self.begun[-1])
        error = own if isinstance(own, Exception) else self.acts.get(settings.seed)
        if error is not None:
            if isinstance(error, Interrupted):
                (folder / "checkpoints").mkdir(exist_ok=True)
                (folder / LAST).touch()
                write_status(folder, "interrupted", reason=str(error))
            raise error
        value = own if isinstance(own, float) else self.values.get(settings.seed, 0.5)
        content = {
            "metric": "accuracy",
            **{stage: {"dataset": "glyphs", "metrics": figures(value)} for stage in ("meta_val", "meta_test")},
            "higher_is_better": {"accuracy": True, "loss": False},
            "train": {"dataset": "glyphs", "same_source": True},
        }
        (folder / "result.json").write_text(json.dumps(content))
        write_status(folder, "done")
        return value or 0.0
