"""Training that goes wrong: what says so, and when."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import scipy.stats
import torch
from builders import ALGORITHMS, Blobs, able, build, moved, settings, waves
from checkpoints import state_of
from torch import Tensor

from metarun.core.errors import Diverged
from metarun.core.kinds import Regression
from metarun.engine import divergence
from metarun.engine.divergence import DivergenceCheck
from metarun.engine.evaluation import EvaluationResult, Evaluator
from metarun.runs.files import BEST, LAST
from metarun.training.messages import harmed
from metarun.training.results import adaptation_gain

Command = Callable[..., tuple[int, str, str]]

WAVES = (
    "dataset=sinusoid", "model=mlp", "model.hidden=[8,8]", "engine.steps=6", "engine.meta_batch_size=3",
    "engine.val_every=2", "engine.val_episodes=20", "engine.test_episodes=21", "engine.checkpoint_every=3",
    "engine.log_every=2", "device.name=cpu", "device.threads=1", "device.compile=false", "tracking=scalars",
)  # fmt: skip
EXPLODING = (*WAVES, "algorithm.inner_lr=1", "algorithm.test_steps=3", "algorithm.outer.lr=1e-6")
INFINITE = (*WAVES, "algorithm.inner_lr=1.5", "algorithm.test_steps=8", "algorithm.outer.lr=1e-6")

TRIVIAL = 4.0


def episodes(after: float | Tensor, trivial: float, metric: str = "mse") -> EvaluationResult:
    """Episodes around a mean, whose trivial baseline is another."""
    noise = torch.tensor([-1.0, 1.0] * 20, dtype=torch.float64)
    values = after * (1 + 0.1 * noise)
    name = "support_mean" if metric == "mse" else "majority_class"
    return EvaluationResult(
        {metric: values[:, None]}, baselines={name: trivial * (1 + 0.1 * noise.view(-1, 2).T.flatten())}
    )


class Story:
    """Validations one after another, as the check is shown them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *overrides: str, sequential: bool = False) -> None:
        letters = "algorithm=protonet" in overrides
        self.dataset: Any = Blobs() if letters else waves()
        learner, self.phi = build(self.dataset, *(overrides or ("dataset=sinusoid", "model=mlp")))
        self.check = DivergenceCheck(learner, self.dataset, sequential)
        self.step = 0
        self.metric, self.trivial = ("accuracy", 1 / 3) if letters else ("mse", TRIVIAL)
        self.before = 5.0
        monkeypatch.setattr(
            DivergenceCheck,
            "_before",
            lambda check, phi, metric, count: self.before * torch.ones(count, dtype=torch.float64),
        )

    def tell(self, after: float, before: float = 5.0, last: bool = False) -> str | None:
        """The line after a validation, with an exclamation mark where it is severe."""
        self.before, self.step = before, self.step + 100
        found = self.check(self.phi, self.step, episodes(after, self.trivial, self.metric), 32, last)
        return None if found is None else found.line + "!" * found.severe


def test_successful_training_has_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(monkeypatch)
    assert [story.tell(value) for value in (9.0, 3.0, 1.0, 0.5)] == [None] * 4
    assert story.tell(0.4, last=True) is None


def test_far_from_the_baseline_training_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with targets far from zero, that the first network knows nothing of."""
    story = Story(monkeypatch)
    assert [story.tell(value, before=1e5) for value in (9e4, 5e4, 1e4, 100.0, 2.0)] == [None] * 5


def test_error_multiplied_by_adaptation_is_reported_once_and_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(monkeypatch, "dataset=sinusoid", "model=mlp", "algorithm.inner_lr=0.4")
    line = story.tell(2.5e10, before=3.88)
    assert line == (
        "step 100: meta-val mse is 2.5e+10 after adaptation and was 3.88 before it in the first 32 episodes; "
        "lower algorithm.inner_lr (now 0.4)!"
    )
    assert [story.tell(2.5e10, before=3.88) for _ in range(3)] == [None] * 3


def test_more_steps_than_in_training_are_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(monkeypatch, "dataset=sinusoid", "model=mlp", "algorithm.inner_lr=0.4", "algorithm.test_steps=50")
    line = story.tell(2.5e10)
    assert line is not None
    assert line.endswith("lower algorithm.inner_lr (now 0.4) or algorithm.test_steps (now 50)!")


def test_harmful_adaptation_is_reported_if_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(monkeypatch)
    assert story.tell(0.6, before=0.5) is None
    assert story.tell(0.4, before=0.5) is None
    assert story.tell(0.6, before=0.5) is None
    line = story.tell(0.55, before=0.5)
    assert line is not None
    assert "is 0.55 after adaptation and was 0.5 before it in the first 32 episodes; lower algorithm.inner_lr" in line
    assert not line.endswith("!")
    severe = story.tell(900.0, before=0.5)
    assert severe is not None
    assert severe.endswith("!"), "what was harmless before is told again when it has become severe"


def test_a_single_validation_has_no_other_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Story(monkeypatch).tell(1.16, before=1.1, last=True)
    assert line is not None
    assert "after adaptation" in line


def test_growing_error_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(monkeypatch, "dataset=sinusoid", "model=mlp", "algorithm.outer.lr=0.5")
    assert story.tell(2.0) is None
    line = story.tell(250.0, before=300.0)
    assert line == ("step 200: meta-val mse has grown from 2 at step 100 to 250; lower algorithm.outer.lr (now 0.5)!")
    assert story.tell(240.0, before=300.0) is None
    tiny = Story(monkeypatch)
    assert [tiny.tell(value) for value in (1e-4, 0.1, 1e-4)] == [None] * 3, "below the baseline nothing explodes"


def test_baseline_level_is_reported_at_the_second_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(monkeypatch, "algorithm=protonet", "algorithm.outer.lr=0.25")
    assert story.tell(0.33) is None
    line = story.tell(0.34)
    assert line is not None
    assert "meta-val accuracy is 0.34, no better than the baseline majority class with 0.3333; change " in line
    assert line.endswith("algorithm.outer.lr (now 0.25), or train longer (engine.steps)")
    assert story.tell(0.33) is None
    assert story.tell(0.34, last=True) is None


def test_baseline_level_at_the_end_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(monkeypatch)
    assert story.tell(90.0, before=100.0) is None
    assert story.tell(50.0, before=60.0) is None, "it comes nearer"
    line = story.tell(5.0, before=6.0, last=True)
    assert line is not None
    assert "no better than the baseline support mean" in line


def test_lasting_error_far_above_the_baseline_is_severe(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(monkeypatch, "dataset=sinusoid", "model=mlp", "algorithm=joint")
    assert story.tell(1e6) is None
    line = story.tell(1e6)
    assert line is not None
    assert line.endswith("!")


def test_groups_one_after_another_are_only_judged_at_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(monkeypatch, sequential=True)
    assert [story.tell(value, before=2 * value) for value in (1e-3, 9.0, 9.0, 9.0)] == [None] * 4
    line = story.tell(9.0, before=20.0, last=True)
    assert line is not None
    assert "no better than" in line


@pytest.mark.parametrize("metric", ["mse", "loss"])
def test_non_finite_episodes_are_counted(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(monkeypatch, *(["algorithm=protonet"] if metric == "loss" else []))
    found = episodes(0.9, story.trivial, story.metric)
    values = torch.ones(40, 1, dtype=torch.float64)
    values[[3, 5]] = torch.tensor([[torch.inf], [torch.nan]], dtype=torch.float64)
    told = story.check(story.phi, 100, replace(found, curves={**found.curves, metric: values}), 32, False)
    assert told is not None
    assert told.severe
    assert told.line.startswith(f"step 100: meta-val {metric} is not finite in 2 of 40 episodes; lower algorithm.")
    assert story.check(story.phi, 200, replace(found, curves={**found.curves, metric: values}), 32, False) is None


@pytest.mark.parametrize("problem", ["waves", "blobs"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_before_adaptation_is_the_first_point_of_the_curve(name: str, problem: str) -> None:
    dataset: Any = waves() if problem == "waves" else Blobs()
    if not able(name, dataset):
        return
    parts = ("model=mlp", "model.hidden=[8,8]") if problem == "waves" else ("model.channels=4", "model.layers=2")
    learner, phi = build(dataset, f"algorithm={name}", *parts)
    phi, metric = moved(phi), dataset.kind("val").metric
    curves = Evaluator(learner, 5)(phi, dataset, "val", 5).curves[metric]
    found = DivergenceCheck(learner, dataset, False)._before(phi, metric, 5)
    torch.testing.assert_close(found, curves[:, 0], rtol=1e-9, atol=1e-9)


def result(folder: str = "run") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((Path(folder) / "result.json").read_text())
    return content


def told(folder: str = "run") -> list[str]:
    lines = (Path(folder) / "metarun.log").read_text().splitlines()
    return [line for line in lines if "meta-val mse is" in line or "meta-val mse has" in line]


def test_exploding_inner_loop_is_reported_once(command: Command) -> None:
    assert command(*EXPLODING, "hydra.run.dir=run")[0] == 0
    (line,) = told()
    assert "lower algorithm.inner_lr (now 1.0) or algorithm.test_steps (now 3)" in line
    assert "step 2: " in line


def test_on_divergence_stop_ends_the_run(command: Command) -> None:
    code, _, err = command(*EXPLODING, "engine.on_divergence=stop", "hydra.run.dir=run")
    assert code == 3
    assert err.count("\n") == 1
    assert err.startswith("metarun: step 2: meta-val mse is ")
    assert "(stopped by engine.on_divergence=stop; no state was validated before)" in err
    assert json.loads(Path("run/status.json").read_text())["status"] == "failed"
    assert not Path("run/result.json").exists()
    assert not (Path("run") / BEST).exists(), "what has diverged is not the best"
    assert state_of(Path("run"), LAST)["step"] == 0, "nor the last"


def test_stopped_later_the_best_state_before_is_kept(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        divergence.DivergenceCheck,
        "_harmed",
        lambda check, seen: divergence.Finding(f"step {seen.step}: worse", severe=True) if seen.step == 6 else None,
    )
    quiet = (*WAVES, "engine.on_divergence=stop", "algorithm.outer.lr=1e-6", "engine.steps=8")
    code, _, err = command(*quiet, "hydra.run.dir=run")
    assert code == 3
    best = state_of(Path("run"), BEST)["step"]
    assert best in (2, 4)
    assert state_of(Path("run"), LAST)["step"] == 3, "not the state that was found to have diverged"
    assert f"(stopped by engine.on_divergence=stop; to test the best state, of step {best}: metarun mode=test" in err
    assert command("mode=test", "checkpoint=run", "hydra.run.dir=test")[0] == 0
    assert result("test")["train"]["tested_step"] == best


def test_non_finite_validation_is_never_the_best(command: Command) -> None:
    assert command(*INFINITE, "hydra.run.dir=run")[0] == 0
    log = (Path("run") / "metarun.log").read_text()
    assert "(best)" not in log
    assert len(told()) == 1
    assert "last checkpoint (step 6; no validation was finite)" in log
    assert state_of(Path("run"), BEST)["step"] == 6


def test_non_finite_result_has_the_number_of_episodes(command: Command) -> None:
    assert command(*INFINITE, "hydra.run.dir=run")[0] == 0
    found = result()["meta_test"]["metrics"]["mse"]
    rows = (Path("run") / "episodes.csv").read_text().splitlines()
    values = sorted(float(row.split(",")[rows[0].split(",").index("mse")]) for row in rows[1:])
    lost = sum(not abs(value) < float("inf") for value in values)
    assert found["mean"] is None
    assert found["not_finite"] == lost > 0
    log = (Path("run") / "metarun.log").read_text()
    assert f"mse is not finite in {lost} of 21 episodes" in log
    assert "gap to meta-train not finite" in log
    assert "inf" not in log.partition("meta-test")[2].replace("not finite", "").replace("finite", "")


def test_median_counts_non_finite_values_as_the_worst() -> None:
    values = torch.tensor([1.0, torch.nan, 2.0, torch.inf, 3.0], dtype=torch.float64)
    summary = EvaluationResult({"mse": values[:, None]}).summary()["mse"]
    assert (summary["not_finite"], summary["median"]) == (2, 3.0)
    assert EvaluationResult({"mse": values[:4, None]}).summary()["mse"]["median"] == torch.inf
    assert "median" not in EvaluationResult({"mse": values[::2, None]}).summary()["mse"]


@pytest.mark.parametrize(("harm", "told"), [(0.06, True), (0.0, False), (-0.06, False)])
def test_meta_test_reports_harmful_adaptation(harm: float, told: bool) -> None:
    """Too little for the few episodes of a validation: a fifth of its spread."""
    noise = torch.randn(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    change = harm + 0.3 * (noise - noise.mean())
    test = EvaluationResult({"mse": torch.stack((torch.ones_like(noise), 1 + change), 1)})
    gain = adaptation_gain(Regression(), test)
    found = scipy.stats.ttest_rel(torch.ones(1000), 1 + change)
    assert gain["mean"] == pytest.approx(-harm, abs=1e-12)
    assert gain["p"] == pytest.approx(found.pvalue, rel=1e-6, abs=1e-12)
    line = harmed({"adaptation_gain": gain}, settings("dataset=sinusoid", "algorithm.inner_lr=0.4").algorithm)
    expected = "adaptation makes the mse worse (paired t-test: p < 0.001); lower algorithm.inner_lr (now 0.4)"
    assert line == (expected if told else None)
    assert adaptation_gain(Regression(), EvaluationResult({"mse": torch.ones(3, 1)})) == {}


def test_stagnation_does_not_stop_the_run(command: Command) -> None:
    still = ("algorithm.inner_lr=1e-9", "algorithm.outer.lr=1e-9", "engine.on_divergence=stop")
    assert command(*WAVES, *still, "dataset.amplitude=[4,5]", "hydra.run.dir=run")[0] == 0
    (line,) = told()
    assert "no better than the baseline support mean" in line


def test_non_finite_loss_has_the_same_exit_code(command: Command) -> None:
    code, _, err = command(*WAVES, "algorithm.inner_lr=1e30", "hydra.run.dir=run")
    assert code == 3
    assert "is not finite" in err
    assert issubclass(Diverged, Exception)
