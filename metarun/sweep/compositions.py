"""Compatibility of the parts of a sweep's jobs, checked before the first one starts."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from metarun.config.groups import TESTS
from metarun.core.errors import UserCodeError, UserError
from metarun.datasets.base import Dataset, Problem, problem
from metarun.setup import user_parts
from metarun.setup.assemble import check, check_order, check_settings, check_test
from metarun.setup.settings import Settings
from metarun.sweep.search import Proposal

MOST_NAMED = 6
"""Configurations that a line names."""


class Compositions:
    """Checks the jobs of one sweep. Each different dataset is loaded once, unless ``load`` is false.

    A dataset that cannot be loaded here is not checked: its jobs report that themselves.
    """

    def __init__(self, *, load: bool) -> None:
        self._load = load
        self._known: dict[str, tuple[Problem, int] | None] = {}

    def refusal(self, settings: Settings) -> str | None:
        """Why a run of these settings would be refused; ``None`` if it would not. Raises `UserCodeError`."""
        try:
            with user_parts.blaming(settings.plain):
                check_settings(settings)
                facts = self._facts(settings) if self._load else None
                if facts is not None:
                    posed, groups = facts
                    check(settings, posed)
                    check_order(settings, groups)
                    self._check_tests(settings, posed)
        except UserCodeError:
            raise
        except UserError as error:
            return str(error)
        return None

    def _check_tests(self, settings: Settings, trained: Problem) -> None:
        """Refuse further data sets that what is trained for ``own`` cannot be tested on. Raises `UserError`."""
        for name, node in settings.plain.get(TESTS, {}).items():
            load = partial(settings.load_test_dataset, name)
            if (facts := self._loaded(settings, (TESTS, name, node), load)) is not None:
                check_test(settings, trained, facts[0], name)

    def _facts(self, settings: Settings) -> tuple[Problem, int] | None:
        """What is known of a dataset once it is loaded: its problem, and how many groups of tasks it has."""
        chosen = settings.plain["choices"]["dataset"], settings.plain["dataset"]
        return self._loaded(settings, chosen, settings.load_dataset)

    def _loaded(
        self, settings: Settings, chosen: tuple[Any, ...], load: Callable[[torch.device], Dataset]
    ) -> tuple[Problem, int] | None:
        """What ``load`` loads, once for each choice."""
        key = repr((*chosen, settings.device.dtype, settings.likelihood))
        if key not in self._known:
            try:
                with user_parts.blaming(settings.plain):
                    dataset = load(torch.device("cpu"))
            except UserError:
                self._known[key] = None
            else:
                self._known[key] = problem(dataset, settings.likelihood), len(dataset.groups)
        return self._known[key]


def told(left_out: Sequence[tuple[Proposal, str]], whole: int) -> list[str]:
    """Lines that report jobs which are left out of ``whole``: every reason once, with its configurations."""
    by_reason: dict[str, dict[str, int]] = {}
    for job, reason in left_out:
        found = by_reason.setdefault(reason, {})
        found[job.configuration] = found.get(job.configuration, 0) + 1
    lines = [f"left out    {len(left_out)} of {whole} jobs whose parts do not go together (not failures)"]
    for reason, configurations in by_reason.items():
        names = [name or "all" for name in configurations]
        more = f"; and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        lines.append(f"            {sum(configurations.values())}: {reason} [{'; '.join(names[:MOST_NAMED])}{more}]")
    return lines
