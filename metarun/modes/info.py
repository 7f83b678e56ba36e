"""``mode=info``: a summary of a run, without running it."""

from pathlib import Path

from metarun.config.quoting import command_line
from metarun.modes.running import Call
from metarun.runs.files import refuse_taken
from metarun.setup.settings import Settings
from metarun.summary.computing import computing
from metarun.summary.files import files
from metarun.summary.learning import defaults, learning
from metarun.summary.parameters import hypernet, meta_parameters, task_model
from metarun.summary.planned_run import plan
from metarun.summary.tasks import tasks


def run(call: Call) -> None:
    """Print the summary, and the command that starts the run."""
    settings = call.settings
    if settings.resume is None:
        refuse_taken(call.folder)
    print(describe(settings, call.folder))
    rest = [text for text in call.typed if not text.startswith("mode=")]
    mode = [] if settings.trains else ["mode=test"]
    print(f"\nNothing was run or written. To run it: {command_line(settings.plain, *mode, *rest)}")


def describe(settings: Settings, folder: Path) -> str:
    """The summary of a run of these settings in ``folder``. Raises `UserError`, see `plan`."""
    with settings.device.arithmetic():
        run = plan(settings, folder)
        sections = (tasks, task_model, hypernet, meta_parameters, defaults, learning, computing, files)
        return "\n\n".join(text for section in sections if (text := section(run)))
