"""What a sweep says at its start and at its end."""

from collections.abc import Mapping
from pathlib import Path

from metarun.config.names import listed
from metarun.errors import Interrupted, UserError
from metarun.failures import OurBug
from metarun.sweep.search import Outcome, Search, finite
from metarun.tracking.words import short


def introduce(folder: Path, search: Search, done: int) -> None:
    """How many jobs there are, over what, and where."""
    jobs = f"{search.total} job{'s' * (search.total != 1)}"
    before = f", {done} of them done before" if done else ""
    print(f"sweep of {jobs} over {listed(search.keys)}{before} · {short(folder)}")


def conclude(folder: Path, search: Search, outcomes: Mapping[str, Outcome], again: str) -> None:
    """What became of the jobs, the best, and what to type next.

    Raises `Interrupted` where the sweep was stopped, `OurBug` or `UserError` where it has failed.
    """
    done = {name: one for name, one in outcomes.items() if one.state == "done"}
    failed = {name: one for name, one in outcomes.items() if one.state == "failed"}
    ranked = {name: one for name, one in done.items() if finite(one)}
    if len(ranked) > 1 and len({one.metric for one in ranked.values()}) == 1:
        better = max if next(iter(ranked.values())).higher_is_better else min
        name = better(ranked, key=lambda name: ranked[name].value or 0.0)
        print(f"best        meta-val {ranked[name].metric} {ranked[name].value:.4f}  {short(folder / name)}")
    if done:
        print(f"compare     metarun-report {short(folder)}")
        print(f"look        tensorboard --logdir {short(folder)}")
    stopped = len(done) + len(failed) < len(outcomes)
    told = f"{len(done)} of {search.total} jobs done, {len(failed)} failed"
    if stopped and not failed:
        raise Interrupted(f"sweep stopped: {told}; go on with: {again}")
    bugs = [name for name, one in failed.items() if not one.mistake]
    if failed and (bugs or not search.tolerant or not done):
        first = bugs[0] if bugs else next(iter(failed))
        text = f"{told}; the first failure: {first}: {failed[first].reason}; what is missing is run by: {again}"
        raise OurBug(f"{text} (a bug, traceback in its log)") if bugs else UserError(text)
    if stopped:
        raise Interrupted(f"sweep stopped: {told}; go on with: {again}")
    if failed:
        print(f"failed      {len(failed)} of {search.total}: the search went on without them")
