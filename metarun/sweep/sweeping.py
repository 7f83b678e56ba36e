"""A sweep from its command line to its end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from metarun.config.compose import CONFIG_NAME, explained, folder_named, loading, parse, plain
from metarun.config.groups import SWEEP
from metarun.config.hydra import Callbacks, ConfigLoaderImpl
from metarun.config.quoting import CONFIG_DIR, command_line, quoted
from metarun.core.errors import UserError
from metarun.core.lock import NAME as LOCK
from metarun.core.names import shown
from metarun.runs.failures import named
from metarun.runs.status import write_status
from metarun.setup import user_parts
from metarun.setup.check import part
from metarun.setup.saved import typed_only
from metarun.setup.settings import Settings
from metarun.sweep import folder as folders
from metarun.sweep.compositions import Compositions, told
from metarun.sweep.folder import SweepFolder
from metarun.sweep.job import Job, Runs
from metarun.sweep.launching import ELSEWHERE, chosen, launched, neighbors, ready, refuse_parallel, stopping
from metarun.sweep.messages import conclude, introduce
from metarun.sweep.objective import direction
from metarun.sweep.outcomes import outcome
from metarun.sweep.progress import SweepProgress
from metarun.sweep.resume import resume_arguments
from metarun.sweep.search import INVALID, SEED, JobOutcome, Proposal, Search
from metarun.sweep.settings import SweepSettings
from metarun.sweep.space import of_sweep, parse_sweep
from metarun.training.messages import relative_to_cwd

NOT_SETTINGS = ("resume", CONFIG_DIR)
"""Keys of a run's configuration that say nothing of what it computes."""


def sweep(overrides: Sequence[str], config_dir: str | None, typed: Sequence[str], run: Runs) -> None:
    """Run the jobs of a sweep's ``overrides``, but those that an earlier start has done.

    typed: what to keep for going on later, where ``overrides`` hold a saved run's configuration besides. run: runs one
    job; other processes import it by name.

    Raises `UserError` before the first job for whatever is wrong with any of them, and after the last if a job failed
    that should not; `OurBug` if one failed by a bug; `Interrupted` when the user stops it.
    """
    with loading(config_dir) as loader:
        _Sweep(list(overrides), config_dir, list(typed), loader, run).run()


@dataclass(frozen=True)
class _Sweep:
    overrides: list[str]
    config_dir: str | None
    typed: list[str]
    loader: ConfigLoaderImpl
    run_job: Runs

    def run(self) -> None:
        command, settings = parse_sweep(self.overrides), self.settings
        refuse_parallel(self.launcher, settings.parallel)
        search = settings.search(command, self.loader, str(self.config.hydra.runtime.choices["algorithm"]))
        higher = True
        if search.tolerant or settings.objective is not None:
            first = self._composed(command.first())
            if not command.swept.keys() - {SEED} and (reason := self._compositions.refusal(first)) is not None:
                raise UserError(reason)  # of every job
            higher = direction(first, settings.objective)
        folder = self.folder
        with folder.claimed():
            settings.opened(search, folder, higher)
            folder.stop_file.unlink(missing_ok=True)
            callbacks = Callbacks(self.config)
            callbacks.on_multirun_start(config=self.config, config_name=CONFIG_NAME)
            outcomes = self._all(search, HydraContext(config_loader=self.loader, callbacks=callbacks))
            callbacks.on_multirun_end(config=self.config, config_name=CONFIG_NAME)
            conclude(folder.path, search, outcomes, self._resume_command(), stopped=folder.stop_file.exists())

    def _all(self, search: Search, context: HydraContext) -> list[tuple[Proposal, JobOutcome]]:
        """Run what the search proposes until it has no more, or is stopped.

        Returns what became of all jobs, those of earlier starts included.
        """
        earlier = [(one, self._outcome(one)) for one in search.earlier()]
        outcomes = [(one, found) for one, found in earlier if found.state != "missing"]  # as are those left out
        search.total -= len(earlier) - len(outcomes)
        jobs = self._next(search)
        self.folder.remember(self.typed)  # once nothing is wrong with the first of them
        done = len(outcomes) + sum(self._outcome(one).state == "done" for one in jobs)
        introduce(self.folder.path, search, done)
        reported = self._report_left_out(search, 0)
        job = Job(
            run=self.run_job,
            sweep=self.folder.path,
            keys=search.keys,
            config_dir=self.config_dir,
            neighbors=neighbors(self.config, search.total),
            stop_on_failure=self.settings.on_failure == "stop",
        )
        with (
            SweepProgress(self.folder.path, search.total, done, self.settings.objective) as progress,
            stopping(self.folder),
        ):
            while jobs:
                left = [one for one in jobs if self._outcome(one).state != "done"]
                progress.follow(one.name for one in left)
                self._launched(context, job, left, len(outcomes), progress)
                found = {one.name: self._outcome(one) for one in jobs}
                search.tell(found | self._invalid())
                outcomes += [(one, found[one.name]) for one in jobs]
                if self.folder.stop_file.exists():
                    break
                jobs = self._next(search)
                progress.total = search.total
                reported = self._report_left_out(search, reported)
        return outcomes

    def _launched(
        self, context: HydraContext, job: Job, jobs: list[Proposal], first: int, progress: SweepProgress
    ) -> None:
        """Run jobs until all have ended; a job whose process dies has failed, and the others continue."""
        left = jobs
        while left:
            texts = [[*one.overrides, f"hydra.sweep.subdir={quoted(one.name)}"] for one in left]
            try:
                launched(context, self.config, job, texts, first)
                return
            except Exception as error:  # the launcher's own, for a process that was killed
                waiting = progress.open()
                died = [one for one in left if one.name in waiting and self._begun(one)]
                if not died or self.folder.stop_file.exists():
                    raise
                for one in died:
                    reason = f"its process ended without a word ({named(error).partition('. ')[0]}); out of memory?"
                    write_status(self.folder.path / one.name, "failed", reason=reason)
                left = [one for one in left if one.name in waiting and one not in died]

    def _begun(self, job: Proposal) -> bool:
        return (self.folder.path / job.name / LOCK).exists()

    def _next(self, search: Search) -> list[Proposal]:
        """The next jobs that can run; none when the search has ended. Raises `UserError` if none could, ever."""
        while proposed := search.ask():
            jobs = self._checked(proposed)
            search.total -= len(proposed) - len(jobs)
            if jobs:
                return jobs
            search.tell(self._invalid())
        if self._left_out and not search.total:
            job, reason = self._left_out[0]
            where = f" (all {len(self._left_out)} jobs are left out, this is {job.name})"
            raise UserError(reason + where * (len(self._left_out) > 1))
        return []

    def _checked(self, jobs: Sequence[Proposal]) -> list[Proposal]:
        """The jobs whose parts go together, each composed and looked at before any runs; the others are noted.

        Raises `UserError` for the first that is mistaken otherwise, or with ``sweep.invalid=fail``.
        """
        able = []
        for job in jobs:
            settings = self._composed(job.overrides)
            reason = self._compositions.refusal(settings)
            if reason is not None:
                if self.settings.invalid == "fail":
                    raise UserError(f"{reason} (in the job {job.name}; sweep.invalid=skip leaves such jobs out)")
                self._left_out.append((job, reason))
                continue
            saved = folders.saved_config(self.folder.path / job.name)
            if saved is not None:
                _refuse_other(saved, settings.plain, self.folder.path / job.name)
            able.append(job)
        return able

    def _invalid(self) -> dict[str, JobOutcome]:
        return {job.name: JobOutcome(INVALID, reason) for job, reason in self._left_out}

    def _report_left_out(self, search: Search, before: int) -> int:
        """Report the jobs left out but the first ``before`` of them, which were; returns how many there are now."""
        new = self._left_out[before:]
        if new:
            print("\n".join(told(new, search.total + len(self._left_out))))
        return len(self._left_out)

    @cached_property
    def _left_out(self) -> list[tuple[Proposal, str]]:
        return []

    @cached_property
    def _compositions(self) -> Compositions:
        return Compositions(load=self.launcher not in ELSEWHERE)

    def _composed(self, overrides: Sequence[str]) -> Settings:
        try:
            config = self.loader.load_sweep_config(self.config, list(overrides))
        except (HydraException, OmegaConfBaseException, YAMLError) as error:
            raise UserError(f"{explained(error)} (in the job {' '.join(overrides)})") from error
        return user_parts.checked(plain(config, config.hydra.runtime.choices), self.config_dir)

    def _outcome(self, job: Proposal) -> JobOutcome:
        return outcome(self.folder.path / job.name, self.settings.objective)

    @cached_property
    def config(self) -> DictConfig:
        return composed(self.overrides, self.loader)

    @cached_property
    def settings(self) -> SweepSettings:
        node = OmegaConf.to_container(self.config.sweep, resolve=True)
        assert isinstance(node, dict)
        settings = part(SWEEP, {str(key): value for key, value in node.items()}, self._choice(SWEEP), [])
        assert isinstance(settings, SweepSettings)
        return settings

    @cached_property
    def folder(self) -> SweepFolder:
        return SweepFolder(Path(str(self.config.hydra.sweep.dir)))

    @property
    def launcher(self) -> str:
        return self._choice("hydra/launcher")

    def _choice(self, group: str) -> str:
        return str(self.config.hydra.runtime.choices[group])

    def _resume_command(self) -> str:
        return command_line(
            {CONFIG_DIR: self.config_dir}, *resume_arguments(self.typed, str(relative_to_cwd(self.folder.path)))
        )


def composed(overrides: Sequence[str], loader: ConfigLoaderImpl) -> DictConfig:
    """What Hydra composes for a sweep as a whole: its own settings, the sweep's, and what all jobs share."""
    parsed = parse(overrides)
    hydra_overrides = [str(one.input_line) for one in parsed if one.is_hydra_override() or of_sweep(one)]
    everything = [*ready(chosen(parsed)), *hydra_overrides, *parse_sweep(overrides).constants]

    def load(*more: str) -> DictConfig:
        return loader.load_configuration(CONFIG_NAME, [*everything, *more], run_mode=RunMode.MULTIRUN)

    # Other processes would tell another time where the folder is named by it.
    return load(f"hydra.sweep.dir={quoted(str(folder_named(load(), 'hydra.sweep.dir')))}")


def _refuse_other(saved: Mapping[str, Any], now: Mapping[str, Any], place: Path) -> None:
    """Refuse a folder whose run has other settings than the job of its name."""
    before, after = (
        {key: value for key, value in _leaves(one).items() if key not in NOT_SETTINGS and not typed_only(key)}
        for one in (saved, now)
    )
    for key in [*after, *before]:
        if before.get(key) != after.get(key):
            raise UserError(
                f"{place}: holds a run with {key}={shown(before.get(key))}, and this job has {shown(after.get(key))}; "
                "give another hydra.sweep.dir, or what was given there"
            )


def _leaves(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.items():
        found |= _leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found
