"""What launchers are given."""

from pathlib import Path
from typing import Any

import joblib
import pytest

from metarun.config.compose import loading
from metarun.core.errors import UserError
from metarun.sweep import launching
from metarun.sweep.launching import neighbors, refuse_parallel
from metarun.sweep.sweeping import composed

LAUNCHERS = {
    "joblib": {"n_jobs": 3},
    "submitit_local": {"timeout_min": 10000},
    "submitit_slurm": {"array_parallelism": 3, "max_num_timeout": 20, "timeout_min": 240},
    "ray": {"ray.init.num_cpus": 3, "ray.remote.num_cpus": 1},
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_launchers_get_the_number_of_jobs_at_once(launcher: str) -> None:
    with loading(None) as loader:
        config = composed(["seed=0,1", f"hydra/launcher={launcher}", "sweep.parallel=3"], loader)
        for key, expected in LAUNCHERS[launcher].items():
            node: Any = config.hydra.launcher
            for name in key.split("."):
                node = node[name]
            assert node == expected
        assert Path(config.hydra.sweep.dir).is_absolute()
        typed = composed(["hydra/launcher=joblib", "hydra.launcher.n_jobs=5"], loader)
        assert typed.hydra.launcher.n_jobs == 5, "what is typed comes last"


@pytest.mark.parametrize(
    ("overrides", "jobs", "expected"),
    [
        (["hydra/launcher=joblib", "sweep.parallel=4"], 9, 4),
        (["hydra/launcher=joblib", "sweep.parallel=4"], 2, 2),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=3"], 9, 3),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=-1"], 1000, joblib.cpu_count()),
        (["hydra/launcher=submitit_local", "sweep.parallel=4"], 9, 4),
        (["hydra/launcher=ray", "sweep.parallel=4"], 9, 4),
        (["hydra/launcher=ray", "hydra.launcher.ray.init.num_cpus=8", "hydra.launcher.ray.remote.num_cpus=2"], 9, 4),
        (["hydra/launcher=submitit_slurm", "sweep.parallel=4"], 9, 1),
        ([], 9, 1),
    ],
    ids=str,
)
def test_jobs_that_share_a_machine_are_counted(overrides: list[str], jobs: int, expected: int) -> None:
    with loading(None) as loader:
        assert neighbors(composed(["seed=0,1", *overrides], loader), jobs) == expected


def test_one_after_another_is_not_several_at_once() -> None:
    refuse_parallel("joblib", 2)
    refuse_parallel(launching.ONE_BY_ONE, 1)
    with pytest.raises(UserError, match=r"add hydra/launcher=joblib"):
        refuse_parallel(launching.ONE_BY_ONE, 2)
