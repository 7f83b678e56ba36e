"""Sweeps over keys joined by ``+``, and jobs whose parts do not go together."""

from pathlib import Path
from typing import Any

import pytest
from fake_runs import Command, Experiment, Runs

from metarun.config.zipped_keys import with_single_choices_apart
from metarun.setup.settings import Settings

EMBED = "hypernet+embedding=none+none,film+support"
ABLATION = ("hypernet=none,film,full", "embedding=none,support", "algorithm=maml,reptile", "seed=0,1,2")


@pytest.fixture
def parts(experiment: Experiment) -> list[tuple[str, ...]]:
    """The hypernetwork, embedding, algorithm and seed of each job that is run."""
    base, seen = Runs(), list[tuple[str, ...]]()

    def run(settings: Settings, *arguments: Any) -> float:
        choices = settings.plain["choices"]
        seen.append((choices["hypernet"], choices["embedding"], choices["algorithm"], str(settings.seed)))
        return base(settings, *arguments)

    def with_keywords(settings: Settings, folder: Path, processes: Any, swept: Any, stop_file: Path) -> float:
        return run(settings, folder, processes, swept, stop_file)

    experiment(with_keywords)
    return seen


def test_one_choice_needs_no_sweep(command: Command, experiment: Experiment) -> None:
    assert with_single_choices_apart(["hypernet+embedding=film+support", "seed=1"]) == [
        "hypernet=film",
        "embedding=support",
        "seed=1",
    ]
    seen: list[Settings] = []
    experiment(lambda settings, folder: seen.append(settings))
    assert command("hypernet+embedding=film+support")[0] == 0
    assert seen[0].plain["choices"]["hypernet"] == "film"
    code, _, err = command(EMBED)
    assert (code, err) == (2, f"metarun: {EMBED}: several choices are run one after the other by metarun -m\n")


def test_grid_treats_joined_keys_as_one_axis(command: Command, parts: list[tuple[str, ...]]) -> None:
    code, out, err = command("-m", EMBED, "algorithm=maml,reptile", "hydra.sweep.dir=sweep")
    assert (code, err) == (0, "")
    assert parts == [
        ("none", "none", "maml", "0"),
        ("none", "none", "reptile", "0"),
        ("film", "support", "maml", "0"),
        ("film", "support", "reptile", "0"),
    ]
    assert out.startswith("sweep of 4 jobs over hypernet, embedding, algorithm · sweep\n")
    assert Path("sweep/algorithm=maml,embedding=support,hypernet=film").is_dir()
    # What is saved brings back the pairs, and nothing is run twice.
    assert command("resume=sweep")[0] == 0
    assert len(parts) == 4


def test_random_search_draws_joined_keys_together(command: Command, parts: list[tuple[str, ...]]) -> None:
    arguments = ("-m", "sweep=random", "sweep.trials=8", EMBED, "hydra.sweep.dir=sweep")
    code, out, err = command(*arguments)
    assert (code, err) == (0, "")
    assert {(hypernet, embedding) for hypernet, embedding, *_ in parts} == {("none", "none"), ("film", "support")}
    assert "over algorithm.outer.lr, algorithm.inner_lr, algorithm.inner_steps, hypernet, embedding" in out


def test_optuna_proposes_joined_keys_together(command: Command, parts: list[tuple[str, ...]]) -> None:
    pytest.importorskip("optuna")
    assert command("-m", "sweep=optuna", "sweep.trials=6", EMBED, "hydra.sweep.dir=sweep")[0] == 0
    assert len(parts) == 6
    assert {(hypernet, embedding) for hypernet, embedding, *_ in parts} <= {("none", "none"), ("film", "support")}
    assert command("resume=sweep", "sweep.trials=7")[0] == 0
    assert len(parts) == 7


def test_ablation_skips_impossible_jobs(command: Command, parts: list[tuple[str, ...]]) -> None:
    code, out, err = command("-m", *ABLATION, "hydra.sweep.dir=sweep")
    assert (code, err) == (0, "")
    assert len(parts) == 18
    assert {(hypernet, embedding) for hypernet, embedding, *_ in parts} == {
        ("none", "none"),
        ("film", "support"),
        ("full", "support"),
    }
    lines = out.splitlines()
    assert lines[0] == "sweep of 18 jobs over hypernet, embedding, algorithm, seed · sweep"
    assert lines[1] == "left out    18 of 36 jobs whose parts do not go together (not failures)"
    assert sorted(lines[2:5]) == sorted(
        [
            "            6: embedding=support: nothing uses it; add a hypernetwork, such as hypernet=film, or set "
            "embedding=none [hypernet=none embedding=support algorithm=maml; hypernet=none embedding=support "
            "algorithm=reptile]",
            "            6: hypernet=film: needs a task embedding; add embedding=support [hypernet=film embedding=none "
            "algorithm=maml; hypernet=film embedding=none algorithm=reptile]",
            "            6: hypernet=full: needs a task embedding; add embedding=support [hypernet=full embedding=none "
            "algorithm=maml; hypernet=full embedding=none algorithm=reptile]",
        ]
    )
    assert "18 of 18  done" in out
    assert len(list(Path("sweep").glob("*/status.json"))) == 18


def test_they_can_be_refused_instead(command: Command, parts: list[tuple[str, ...]]) -> None:
    code, _, err = command("-m", *ABLATION, "sweep.invalid=fail", "hydra.sweep.dir=sweep")
    assert (code, parts, err.count("\n")) == (2, [], 1)
    assert "embedding=support: nothing uses it" in err
    assert "(in the job algorithm=maml,embedding=support,hypernet=none,seed=0; sweep.invalid=skip leaves" in err
    assert not list(Path("sweep").glob("*/status.json"))


def test_sweep_without_valid_jobs_has_failed(command: Command, parts: list[tuple[str, ...]]) -> None:
    code, _, err = command("-m", "hypernet=film", "seed=0,1", "hydra.sweep.dir=sweep")
    assert (code, parts, err.count("\n")) == (2, [], 1)
    assert err.startswith("metarun: hypernet=film: needs a task embedding; add embedding=support (all 2 jobs are left")


def test_what_depends_on_the_data_is_found_too(command: Command, parts: list[tuple[str, ...]]) -> None:
    arguments = ("-m", "dataset=sinusoid", "model=mlp", "algorithm=maml,protonet,cnp", "hydra.sweep.dir=sweep")
    code, out, _ = command(*arguments)
    assert (code, [algorithm for _, _, algorithm, _ in parts]) == (0, ["maml", "cnp"])
    assert "1: algorithm=protonet: does classification only" in out


def test_missing_data_is_reported_by_the_jobs(command: Command, parts: list[tuple[str, ...]]) -> None:
    code, out, _ = command("-m", "dataset=omniglot,glyphs", "dataset.shots=1,2", "hydra.sweep.dir=sweep")
    assert (code, len(parts)) == (0, 4)
    assert "left out" not in out


def test_optuna_skips_invalid_trials(command: Command, parts: list[tuple[str, ...]]) -> None:
    pytest.importorskip("optuna")
    arguments = ("-m", "sweep=optuna", "sweep.trials=12", "hypernet=none,film", "embedding=none,support")
    code, out, err = command(*arguments, "hydra.sweep.dir=sweep")
    assert (code, err) == (0, "")
    assert 0 < len(parts) < 12
    assert {(hypernet, embedding) for hypernet, embedding, *_ in parts} <= {("none", "none"), ("film", "support")}
    assert "left out" in out
    assert "done before" not in out
    assert out.count("  done  ") == len(parts)
