"""How a run computes: device, compilation, chunks, memory."""

import torch

from metarun.algorithms.base import Learned
from metarun.core.columns import columns
from metarun.core.free_memory import available
from metarun.core.plural import counted
from metarun.engine.planning import Planner
from metarun.engine.processes.single import SINGLE_PROCESS
from metarun.summary.planned_run import PlannedRun


def computing(run: PlannedRun) -> str:
    """Device, compilation, chunks and the estimated memory."""
    settings, engine, decided = run.settings, run.settings.engine, dict(run.state.decisions)
    group = 0 if engine.order == "sequential" else None
    planner = Planner(
        run.learner,
        run.dataset,
        engine,
        settings.device.compile,
        decided,
        SINGLE_PROCESS,
        group,
        settings.device.records(run.device),
    )
    episodes = planner.episodes_at_once(run.phi)
    evaluation = decided.get("compile_evaluation", planner.wants_compiled_evaluation(run.phi))
    once = [f"{counted(episodes, 'episode')} of an evaluation"]
    compiled = [f"evaluation {'yes' if evaluation else 'no'}"]
    memory = [f"evaluation {_size(planner.evaluation_memory(run.phi, episodes))}"]
    if settings.trains and isinstance(run.learner.algorithm, Learned):
        tasks = planner.tasks_at_once(run.phi)
        once.insert(0, f"{tasks:,} of {counted(engine.meta_batch_size, 'task')} of a meta-update")
        compiled.insert(0, f"meta-step {'yes' if decided.get('compile', planner.wants_compiled(run.phi)) else 'no'}")
        memory.insert(0, f"meta-step {_size(planner.meta_step_memory(run.phi, tasks))}")
    threads = planner.threads(run.phi, settings.device)
    name = f" ({torch.cuda.get_device_name(run.device)})" if run.device.type == "cuda" else ""
    rows = [
        ["device", f"{run.device}{name}, {counted(threads, 'thread')}, {settings.device.precision}"],
        ["compiled", f"{', '.join(compiled)} (device.compile={settings.device.compile})"],
        ["at once", f"{', '.join(once)} (engine.task_chunk={engine.task_chunk})"],
        [
            "memory",
            f"{', '.join(memory)}: estimates, without data, φ and optimizer; free: {_size(available(run.device))}",
        ],
    ]
    return f"Computing ({run.choice('device')})\n{columns(rows)}"


def _size(number: float | None) -> str:
    """A number of bytes with its unit."""
    if number is None:
        return "unknown"
    unit, name = (2**30, "GiB") if number >= 2**30 else (2**20, "MiB") if number >= 2**20 else (2**10, "KiB")
    return f"{number / unit:.1f} {name}"
