"""How a run learns: inner steps, the outer loop, and defaults that follow from other parts."""

from metarun.algorithms.base import Learned
from metarun.algorithms.outer_loop import OuterLoop
from metarun.core.columns import columns
from metarun.core.names import FOLLOWED, shown
from metarun.core.plural import counted
from metarun.summary.planned_run import PlannedRun


def defaults(run: PlannedRun) -> str:
    """Settings with the value ``auto``, and what they follow from."""
    origins: dict[str, str] = run.settings.plain.get(FOLLOWED, {})
    values = dict.fromkeys(origins, run.settings.plain)
    for key in origins:
        for name in key.split("."):
            values[key] = values[key][name]
    rows = [[key, shown(values[key]), f"auto: {origin}"] for key, origin in origins.items()]
    return f"Defaults that follow from other parts\n{columns(rows)}" if rows else ""


def learning(run: PlannedRun) -> str:
    """Inner steps and the outer loop."""
    settings, state, algorithm = run.settings, run.state, run.learner.algorithm
    train, test = (algorithm.steps(testing) for testing in (False, True))
    order = " (second order)" if algorithm.second_order and train else ""
    learned = f"{train} in meta-training{order}, " if isinstance(algorithm, Learned) else ""
    tries = algorithm.max_tried_steps
    best = "" if tries is None else f"; for the test the best of 0 to {tries} on meta-val"
    rows = [["inner steps", f"{learned}{test} at validation{best or ' and test'}"]]
    if not isinstance(algorithm, Learned):
        rows.append(["outer loop", "none: nothing is meta-trained"])
    elif not settings.trains:
        rows.append(["outer loop", f"none: meta-tests φ after {state.step:,} meta-updates"])
    else:
        rows += _outer_loop(run, algorithm.outer)
    return f"Learning ({run.choice('algorithm')})\n{columns(rows)}"


def _outer_loop(run: PlannedRun, outer: OuterLoop) -> list[list[str]]:
    engine, state = run.settings.engine, run.state
    done = f", {state.step:,} of them done" if state.step else ""
    rows = [
        ["outer loop", f"{outer.optimizer}, step size {outer.lr:g}, {outer.schedule}"],
        ["meta-updates", f"{engine.steps:,} of {counted(engine.meta_batch_size, 'task')}{done}"],
        ["validation", f"every {engine.val_every:,} meta-updates"],
    ]
    if engine.order == "sequential":
        per = "each group" if engine.schedule_per == "group" else "all groups"
        order = f"{len(run.dataset.groups):,} groups of tasks, one after another; step sizes scheduled over {per}"
        rows.append(["order", order])
    if outer.tasks.select != "all":
        rows.append(["tasks", f"chosen from {outer.tasks.pool} times as many ({outer.tasks.select})"])
    return rows
