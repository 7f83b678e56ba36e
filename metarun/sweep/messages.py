"""Messages of a sweep at its start and at its end."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from metarun.config.quoting import path_argument, to_paste
from metarun.core.best_configuration import Seeds, best
from metarun.core.errors import Interrupted, UserError
from metarun.core.names import listed
from metarun.runs.failures import OurBug
from metarun.sweep.search import JobOutcome, Proposal, Search, finite
from metarun.training.messages import relative_to_cwd


def introduce(folder: Path, search: Search, done: int) -> None:
    """How many jobs there are, over what, and where."""
    jobs = f"{search.total} job{'s' * (search.total != 1)}"
    before = f", {done} of them done before" if done else ""
    print(f"sweep of {jobs} over {listed(search.keys)}{before} · {relative_to_cwd(folder)}")


def conclude(
    folder: Path,
    search: Search,
    outcomes: Sequence[tuple[Proposal, JobOutcome]],
    resume_command: str,
    *,
    stopped: bool,
) -> None:
    """What became of the jobs, the best configuration, and what to type next.

    Raises `Interrupted` where the sweep was stopped, `OurBug` or `UserError` where it has failed.
    """
    done = [job for job, outcome in outcomes if outcome.state == "done"]
    failed = [(job, outcome) for job, outcome in outcomes if outcome.state == "failed"]
    _tell_best(outcomes)
    if done:
        print(f"compare     {to_paste('metarun-report', path_argument(relative_to_cwd(folder)))}")
        print(f"look        {to_paste('tensorboard', '--logdir', path_argument(relative_to_cwd(folder)))}")
    told = f"{len(done) + len(failed)} of {search.total} jobs ended, {len(failed)} failed"
    bugs = [(job, outcome) for job, outcome in failed if not outcome.mistake]
    if failed and (bugs or not search.tolerant or not (stopped or done)):
        job, first = (bugs or failed)[0]
        text = f"{told}; the first failure: {job.name}: {first.reason}; to run what is missing: {resume_command}"
        raise OurBug(f"{text} (a bug, traceback in its log)") if bugs else UserError(text)
    if stopped:
        raise Interrupted(f"sweep stopped: {told}; resume with: {resume_command}")
    if failed:
        print(f"failed      {len(failed)} of {search.total}; the search went on without them")


def _tell_best(outcomes: Sequence[tuple[Proposal, JobOutcome]]) -> None:
    """The configuration with the best mean objective over its seeds (`metarun.core.best_configuration`)."""
    configurations: dict[str, list[JobOutcome]] = {}
    for job, outcome in outcomes:
        configurations.setdefault(job.configuration, []).append(outcome)
    kinds = {(outcome.metric, outcome.higher_is_better) for _, outcome in outcomes if finite(outcome)}
    if len(kinds) != 1:
        return
    metric, higher = kinds.pop()
    if higher is None:
        return
    found = {name: _by_seed(mine) for name, mine in configurations.items()}
    chosen = best(found, higher)
    if chosen is not None:
        count, all_seeds = len(found[chosen].found), len(configurations[chosen])
        of = "" if count == all_seeds else f"{count} of "
        seeds = f" over {of}{all_seeds} seeds" if all_seeds > 1 else ""
        print(f"best        meta-val {metric} {fmean(found[chosen].found):.4f}{seeds}: {chosen}")


def _by_seed(outcomes: Sequence[JobOutcome]) -> Seeds:
    values = tuple(outcome.value for outcome in outcomes if finite(outcome) and outcome.value is not None)
    failed = sum(outcome.state == "failed" or (outcome.state == "done" and not finite(outcome)) for outcome in outcomes)
    return Seeds(values, failed, len(outcomes) - len(values) - failed)
