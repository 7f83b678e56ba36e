"""Searches by Optuna, on functions whose best is known."""

import math
from pathlib import Path
from typing import Any

import pytest
from fake_runs import Command, Experiment, Runs

from metarun.core.errors import UserError
from metarun.setup.settings import Settings
from metarun.sweep.folder import SweepFolder
from metarun.sweep.optuna_search import Optuna, OptunaSearch
from metarun.sweep.search import JobOutcome, Proposal
from metarun.sweep.space import Choice, Dimension, Interval

SPACE: dict[str, Dimension] = {
    "x": Interval(-1.0, 1.0, log=False, whole=False),
    "n": Interval(1, 8, log=False, whole=True),
    "kind": Choice(("good", "bad")),
}


def search(
    folder: Path, trials: int, *, parallel: int = 1, seeds: tuple[str, ...] = (), fixed: str = "c=1"
) -> OptunaSearch:
    settings = Optuna(
        on_failure="continue",
        invalid="skip",
        parallel=parallel,
        objective=None,
        trials=trials,
        space=None,
        draws=0,
        startup_trials=5,
    )
    found = OptunaSearch(SPACE, [fixed], list(seeds), settings)
    found.open(SweepFolder(folder), higher_is_better=False)
    return found


def values(job: Proposal) -> dict[str, str]:
    return dict(text.split("=") for text in job.varied)


def cost(job: Proposal) -> float:
    """Least, 0, at x = 0.3, n = 5 and kind = good."""
    told = values(job)
    return (float(told["x"]) - 0.3) ** 2 + 0.1 * (int(told["n"]) - 5) ** 2 + (told["kind"] == "bad")


def run(searching: OptunaSearch, most: int = 1000) -> list[Proposal]:
    """Run jobs to the end, or ``most`` of them; a job with n=1 is NaN, and one with n=8 fails."""
    done: list[Proposal] = []
    while jobs := searching.ask():
        outcomes = {}
        for job in jobs:
            n = values(job)["n"]
            value = math.nan if n == "1" else cost(job)
            outcomes[job.name] = JobOutcome("failed", "bad luck") if n == "8" else JobOutcome("done", "", value)
        searching.tell(outcomes)
        done += jobs
        if len(done) >= most:
            break
    return done


def test_it_learns_and_survives_nan_and_failures(tmp_path: Path) -> None:
    jobs = run(search(tmp_path, trials=60))
    assert len(jobs) == 60
    assert {"1", "8"} & {values(job)["n"] for job in jobs}
    first, last = (sorted(map(cost, part)) for part in (jobs[:20], jobs[40:]))
    assert last[10] < first[10] / 2, "the median of the last third is far below that of the first"
    assert min(map(cost, jobs)) < 0.02


def test_restarted_search_repeats_only_unfinished_trials(tmp_path: Path) -> None:
    before = run(search(tmp_path, trials=12), most=6)
    waiting = search(tmp_path, trials=12)
    assert [job.name for job in waiting.earlier()] == [job.name for job in before]
    cut = waiting.ask()
    after = search(tmp_path, trials=12)
    assert [job.name for job in after.ask()] == [job.name for job in cut], "killed as it ran: proposed again"
    rest = run(after)
    names = [job.name for job in (*before, *rest)]
    assert len(names) == len(set(names)) == 12
    draws = [values(job)["x"] for job in (*before, *rest)]
    assert len(set(draws)) == 12, "the generator does not begin anew"
    more = run(search(tmp_path, trials=14))
    assert len(more) == 2


def test_parallel_jobs_and_one_job_per_seed(tmp_path: Path) -> None:
    searching = search(tmp_path, trials=5, parallel=2, seeds=("0", "1", "2"))
    assert searching.total == 15
    jobs = searching.ask()
    assert [job.trial for job in jobs] == [0, 0, 0, 1, 1, 1]
    assert [values(job)["seed"] for job in jobs[:3]] == ["0", "1", "2"]
    told = {job.name: JobOutcome("done", "", float(values(job)["seed"])) for job in jobs}
    searching.tell(told)
    assert searching._study is not None
    assert [trial.value for trial in searching._study.trials] == [1.0, 1.0], "the mean over seeds"
    sizes = []
    while jobs := searching.ask():
        sizes.append(len(jobs))
        searching.tell({job.name: JobOutcome("done", "", 0.0) for job in jobs})
    assert sizes == [6, 3]


def test_a_trial_without_all_its_seeds_has_failed(tmp_path: Path) -> None:
    import optuna

    searching = search(tmp_path, trials=1, seeds=("0", "1"))
    one, two = searching.ask()
    searching.tell({one.name: JobOutcome("done", "", 1.0), two.name: JobOutcome("failed", "no luck")})
    assert searching._study is not None
    assert searching._study.trials[0].state == optuna.trial.TrialState.FAIL
    assert list(searching.ask()) == []


def test_different_search_is_refused_in_the_folder(tmp_path: Path) -> None:
    run(search(tmp_path, trials=2))
    with pytest.raises(UserError, match="holds a search of another space"):
        search(tmp_path, trials=2, fixed="c=2")


def test_invalid_study_file(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("no database" * 100)
    with pytest.raises(UserError, match=r"study\.db: cannot be used as a study"):
        search(tmp_path, trials=2)


def test_by_the_command_line(command: Command, runs: Runs) -> None:
    arguments = ("-m", "sweep=optuna", "dataset=sinusoid", "model=mlp", "hydra.sweep.dir=sweep")
    assert command(*arguments, "sweep.trials=3")[0] == 0
    assert len(runs.begun) == 3
    code, out, _ = command("resume=sweep", "sweep.trials=5")
    assert (code, len(runs.begun)) == (0, 5)
    assert "sweep of 5 jobs" in out
    assert "3 of them done before" in out
    assert len(list(Path("sweep").glob("trial-00?,*"))) == 5


def test_restarted_search_reports_the_best_of_all_trials(command: Command, experiment: Experiment) -> None:
    values = iter([0.9, 0.2, 0.3, 0.4])
    base = Runs()

    def run(settings: Settings, folder: Path, processes: Any, swept: Any, stop_file: Path) -> float:
        base.values = {settings.seed: next(values)}
        return base(settings, folder, processes, swept, stop_file)

    experiment(run)
    arguments = ("-m", "sweep=optuna", "dataset=sinusoid", "model=mlp", "hydra.sweep.dir=sweep")
    code, out, _ = command(*arguments, "sweep.trials=2")
    assert code == 0
    best = next(line for line in out.splitlines() if line.startswith("best"))
    assert best.startswith("best        meta-val accuracy 0.9000")
    code, out, _ = command("resume=sweep", "sweep.trials=4")
    assert code == 0
    assert best in out.splitlines(), "a trial of the first start is still the best"
    assert "sweep of 4 jobs" in out
