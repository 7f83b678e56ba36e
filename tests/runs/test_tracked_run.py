"""What whole runs leave in TensorBoard: read back, held against the result, and without any effect on it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import state_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.plugins.hparams.metadata import parse_session_end_info_plugin_data
from torch.utils._pytree import tree_leaves

from metarun.algorithms.maml import MAML

Command = Callable[..., tuple[int, str, str]]

ENGINE = (
    "engine.steps=6", "engine.meta_batch_size=3", "engine.val_every=2", "engine.val_episodes=5",
    "engine.test_episodes=7", "engine.log_every=2", "tracking.gradient_tasks=3", "tracking.tasks=2",
    "tracking.time_share=1", "device.name=cpu", "device.threads=1", "device.compile=false",
)  # fmt: skip
WAVES = ("dataset=sinusoid", "model=mlp", "model.hidden=[8,8]", "algorithm.inner_lr=0.01", *ENGINE)
GLYPHS = ("dataset.queries=2", "model.channels=4", "model.layers=3", *ENGINE)
FILM = (*WAVES, "dataset=regression_families", "embedding=support", "hypernet=film")
SEQUENCE = (
    "experiment=forgetting_polynomials", "hypernet.hidden=[6]", "model.hidden=[6]", "embedding.fit_steps=3", *ENGINE,
    "engine.steps=9", "engine.val_every=3",
)  # fmt: skip
STEP_SIZES = (*WAVES, "algorithm=meta_sgd")
RUNS = {"waves": WAVES, "glyphs": GLYPHS, "film": FILM, "sequence": SEQUENCE, "step sizes": STEP_SIZES}


TIMED = ("seconds", "measured_seconds", "measured_steps")
"""What a state says of time."""


def ran(command: Command, folder: str, *overrides: str) -> Path:
    code, _, err = command(*overrides, f"hydra.run.dir={folder}")
    assert code == 0, err
    return Path(folder)


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0, "images": 0}).Reload()


def scalars(events: EventAccumulator, tag: str) -> dict[int, float]:
    return {event.step: event.value for event in events.Scalars(tag)}


def result_of(folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result


def close(value: float) -> Any:
    """Event files hold single precision."""
    return pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("overrides", [WAVES, GLYPHS], ids=["waves", "glyphs"])
def test_tags_hold_the_figures_of_the_result(command: Command, overrides: tuple[str, ...]) -> None:
    folder = ran(command, "run", *overrides)
    result, events = result_of(folder), read(folder)
    tested = result["train"]["tested_step"]
    for metric, figures in result["meta_test"]["metrics"].items():
        validated = result["meta_val"]["metrics"][metric]
        assert scalars(events, f"meta-test/{metric}") == {tested: close(figures["mean"])}
        assert scalars(events, f"final/{metric} meta-test") == {tested: close(figures["mean"])}
        assert scalars(events, f"final/{metric} meta-val") == {tested: close(validated["mean"])}
        curve = scalars(events, f"meta-val/{metric}")
        assert curve.keys() == {2, 4, 6}
        assert curve[tested] == close(validated["mean"])
        for which, sign in (("lower", -1), ("upper", 1)):
            bound = scalars(events, f"interval/meta-val {metric} {which}")
            assert bound[tested] == pytest.approx(validated["mean"] + sign * validated["ci95"], rel=1e-5)
        assert scalars(events, f"meta-train/{metric}").keys() == {2, 4, 6}
    for name, value in result["meta_test"]["pooled"].items():
        assert scalars(events, f"meta-test/{name}") == {tested: close(value)}
        assert scalars(events, f"final/{name} meta-test") == {tested: close(value)}
        assert scalars(events, f"meta-val/{name}").keys() == {2, 4, 6}
    trivial = result["baselines"]
    for name, figures in trivial["methods"].items():
        tag = f"baselines/{name.replace('_', ' ')} {trivial['metric']} meta-test"
        assert scalars(events, tag) == {tested: close(figures["mean"])}
    best = trivial["methods"][trivial["best"]]["mean"]
    assert scalars(events, f"final/{trivial['metric']} best baseline") == {tested: close(best)}
    for name, size in result["parameters"].items():
        assert scalars(events, f"parameters/{name}") == {tested: size}
    stages = {tag.partition("/")[0] for tag in events.Tags()["scalars"]}
    assert stages == {
        "meta-train", "meta-val", "meta-test", "baselines", "final", "parameters", "interval", "outer-loop", "speed",
        "outer-gradient", "inner-gradient-before", "inner-gradient-after",
    }  # fmt: skip


PICTURES = {
    "waves": {"meta-val/fits", "meta-test/fits"},
    "glyphs": {"meta-val/examples", "meta-test/examples", "meta-test/confusion"},
    "film": {"meta-val/fits", "meta-test/fits", "meta-test/task embeddings", "meta-test/attention over support"},
    "sequence": {"meta-val/fits", "meta-test/fits", "meta-test/task embeddings", "forgetting/mse"},
    "step sizes": {"meta-val/fits", "meta-test/fits"},
}


@pytest.mark.parametrize("name", RUNS)
def test_pictures(command: Command, name: str) -> None:
    folder = ran(command, "run", *RUNS[name])
    events, result = read(folder), result_of(folder)
    steps = {tag: {event.step for event in events.Images(tag)} for tag in events.Tags()["images"]}
    gradients = {"meta-gradients/cosines", "meta-gradients/projection"}
    adaptation = {f"meta-test/adaptation of {result['metric']}"}
    assert steps.keys() == PICTURES[name] | gradients | adaptation
    validated = set(scalars(events, f"meta-val/{result['metric']}"))
    for tag, its in steps.items():
        if not tag.startswith("forgetting"):
            assert its == ({result["train"]["tested_step"]} if tag.startswith("meta-test") else validated), tag
    histograms = events.Tags()["histograms"]
    assert set(histograms) == (
        {"step-sizes/layers.0", "step-sizes/layers.1", "step-sizes/head"} if name == "step sizes" else set()
    )
    assert [path.name for path in folder.iterdir() if path.is_dir() and path.name != "checkpoints"] == (
        [path.name for path in folder.glob("0*")] if name in ("film", "sequence") else []
    )


def test_learned_step_sizes_are_those_of_phi(command: Command) -> None:
    folder = ran(command, "run", *STEP_SIZES)
    own = state_of(folder)["phi"]["algorithm"]
    head = torch.cat([tensor.flatten() for name, tensor in own.items() if name.startswith("rate.head.")])
    events = read(folder)
    assert scalars(events, "step-size/head")[6] == close(head.mean().item())
    histogram = events.Histograms("step-sizes/head")[-1]
    assert (histogram.step, histogram.histogram_value.num) == (6, len(head))
    assert histogram.histogram_value.sum == pytest.approx(head.double().sum().item(), rel=1e-5)


def test_texts_and_charts(command: Command) -> None:
    events = read(ran(command, "run", *WAVES))
    texts = {tag: events.Tensors(f"{tag}/text_summary")[0].tensor_proto.string_val[0] for tag in ("origin", "config")}
    assert b"* command: `" in texts["origin"]
    assert b"algorithm:" in texts["config"]
    layout = Layout.FromString(events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    assert [category.title for category in layout.category] == [
        "meta-train and meta-val", "meta-val with its 95 % interval", "norms of gradients by layer",
    ]  # fmt: skip
    tags = set(events.Tags()["scalars"])
    for chart in layout.category[1].chart:
        series = chart.margin.series[0]
        assert {series.value, series.lower, series.upper} <= tags


@pytest.mark.parametrize("name", RUNS)
def test_tracking_changes_no_number(command: Command, name: str) -> None:
    often = ("tracking.pictures_every=3", "tracking.gradients_every=1")
    watched, left = ran(command, "watched", *RUNS[name], *often), ran(command, "left", *RUNS[name], "tracking=scalars")
    one, other = result_of(watched), result_of(left)
    for result in (one, other):
        for timed in ("seconds", "tasks_per_second"):
            del result["train"][timed]
    assert one == other
    assert (watched / "episodes.csv").read_bytes() == (left / "episodes.csv").read_bytes()
    states = []
    for folder in (watched, left):
        state = state_of(folder)
        states.append({key: part for key, part in state.items() if key not in TIMED})
    for leaf, other_leaf in zip(*map(tree_leaves, states), strict=True):
        assert torch.equal(leaf, other_leaf) if isinstance(leaf, torch.Tensor) else leaf == other_leaf


def test_each_part_can_be_left_out(command: Command) -> None:
    events = read(ran(command, "run", *FILM, "tracking=scalars")).Tags()
    assert events["images"] == events["histograms"] == events["tensors"] == []
    assert {tag.partition("/")[0] for tag in events["scalars"]} == {
        "meta-train", "meta-val", "meta-test", "baselines", "outer-loop", "speed",
    }  # fmt: skip


def test_figures_are_made_as_often_as_set(command: Command) -> None:
    often = ("tracking.pictures_every=4", "tracking.gradients_every=3", "tracking.similarity=false")
    events = read(ran(command, "run", *WAVES, *often))
    assert [event.step for event in events.Images("meta-val/fits")] == [4]
    assert scalars(events, "outer-gradient/theta.head").keys() == {3, 6}
    assert "meta-gradients/cosines" not in events.Tags()["images"]


def test_of_many_validations_ten_are_looked_at(command: Command) -> None:
    events = read(ran(command, "run", *STEP_SIZES, "engine.steps=25", "engine.val_every=2"))
    assert scalars(events, "meta-val/mse").keys() == {*range(2, 26, 2), 25}  # thirteen
    looks = [event.step for event in events.Images("meta-val/fits")]
    assert looks == [4, 6, 8, 12, 14, 16, 20, 22, 24, 25]
    assert [event.step for event in events.Images("meta-gradients/cosines")] == looks
    assert list(scalars(events, "step-size/head")) == looks


def test_expensive_figures_are_skipped_except_first_and_last(command: Command) -> None:
    events = read(ran(command, "run", *WAVES, "engine.steps=9", "tracking.time_share=0"))
    assert [event.step for event in events.Images("meta-val/fits")] == [2, 9]
    assert scalars(events, "outer-gradient/theta.head").keys() == {2, 9}


def test_a_failed_run_has_its_row(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: object, **named: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(MAML, "query_loss", broken)
    assert command(*WAVES, "hydra.run.dir=run")[0] == 1
    events = read(Path("run"))
    content = events.SummaryMetadata("_hparams_/session_end_info").plugin_data.content
    assert parse_session_end_info_plugin_data(content).status == Status.STATUS_FAILURE
    assert not [tag for tag in events.Tags()["scalars"] if tag.startswith("final/")]
