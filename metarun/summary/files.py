"""The files that a run would write."""

from metarun.core.columns import columns
from metarun.runs.files import BEST, CONFIG, EMBEDDINGS, EPISODES, LAST, LOG, RESULT, STATUS, episodes_file
from metarun.summary.planned_run import PlannedRun
from metarun.training.messages import relative_to_cwd
from metarun.training.profiling import FOLDER as PROFILE


def files(run: PlannedRun) -> str:
    """The files of the run folder."""
    settings = run.settings
    rows = [
        [CONFIG, "these settings"],
        [STATUS, "running, done, failed or interrupted"],
        [LOG, "log"],
        ["events.out.tfevents.*", "curves and figures for TensorBoard"],
    ]
    if settings.trains:
        rows += [
            [LAST, "the latest state, for resuming"],
            [BEST, "φ of the best validation, used for the meta-test"],
        ]
        if settings.engine.profile_steps:
            rows.append([f"{PROFILE}/", "the profile"])
    if settings.embedding.size:
        rows.append([EMBEDDINGS, "task embeddings of meta-test"])
    rows.append([EPISODES, "a row for each meta-test episode"])
    rows += [[episodes_file(one.name), f"the same on {one.name}"] for one in run.tests]
    rows += [[RESULT, "results and their protocol"]]
    return f"Files in {relative_to_cwd(run.folder)}\n{columns(rows)}"
