"""Run folders as metarun leaves them, without running anything."""

import copy
import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

CONFIG: dict[str, Any] = {
    "dataset": {
        "_target_": "metarun.datasets.glyphs.GlyphsConfig",
        "ways": 5,
        "shots": 1,
        "queries": 15,
        "train_ways": None,
        "train_shots": None,
        "train_queries": 3,
    },
    "model": {"_target_": "metarun.models.conv4.Conv4", "channels": 64, "layers": 4, "normalization": "batch"},
    "embedding": {"_target_": "metarun.embeddings.none.NoEmbedding"},
    "hypernet": {"_target_": "metarun.hypernets.none.NoHypernet"},
    "algorithm": {
        "outer": {
            "slow": {"ratio": 1.0, "every": 1},
            "tasks": {"select": "all", "pool": 4, "temperature": 1.0},
            "optimizer": "adam",
            "lr": 0.003,
            "momentum": 0.9,
            "schedule": "cosine",
            "halve_every": 2000,
        },
        "_target_": "metarun.algorithms.maml.MAML",
        "inner_lr": 0.4,
        "rates": {"per": "all", "each_step": False, "learned": False},
        "inner_steps": 1,
        "test_steps": 3,
        "order": 2,
        "first_order_share": 0.0,
        "multi_step_share": 0.0,
        "proximal": 0.0,
        "step_norms": False,
        "recompute": False,
        "contexts": 0,
        "inner_optimizer": {"name": "sgd", "momentum": 0.0, "beta2": 0.999},
        "minibatch": None,
        "test_minibatch": None,
    },
    "regularizer": {
        "_target_": "metarun.regularizers.penalties.Penalties",
        "l2": 0.0,
        "l2_of": "theta",
        "embedding": 0.0,
        "proximal": 0.0,
        "output": 0.0,
        "remember": 16,
    },
    "device": {
        "_target_": "metarun.engine.device.DeviceSettings",
        "name": "auto",
        "precision": "float32",
        "compile": False,
        "threads": 1,
    },
    "engine": {
        "_target_": "metarun.engine.settings.EngineSettings",
        "steps": 1000,
        "meta_batch_size": 8,
        "order": "shuffled",
        "task_chunk": None,
        "val_every": 200,
        "val_episodes": 100,
        "test_episodes": 1000,
        "checkpoint_every": 200,
        "log_every": 10,
        "transductive": False,
        "gradient_clip": None,
    },
    "seed": 0,
    "mode": "train",
    "checkpoint": None,
    "resume": None,
    "choices": {
        "debug": None,
        "experiment": None,
        "engine": "default",
        "device": "auto",
        "regularizer": "default",
        "algorithm": "maml",
        "hypernet": "none",
        "embedding": "none",
        "model": "conv4",
        "dataset": "glyphs",
    },
}
"""That of a real run, of 2026."""


def config(overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A configuration; an override of a group's name changes its option, of a key its value."""
    content = copy.deepcopy(CONFIG)
    for name, value in (overrides or {}).items():
        if name in content["choices"]:
            content["choices"][name] = value
            continue
        *path, key = name.split(".")
        node = content
        for part in path:
            node = node.setdefault(part, {})
        node[key] = value
    return content


def result(
    test: float | None = 0.9,
    val: float | None = 0.91,
    metric: str = "accuracy",
    half: float | None = 0.01,
    episodes: int = 1000,
    adaptation: Sequence[float] = (),
    pooled: Mapping[str, float] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A result of one metric and a loss."""
    loss = {"mean": 0.5, "ci95": 0.02, "episodes": episodes}
    return {
        "metric": metric,
        "higher_is_better": {metric: metric != "mse", "loss": False, "explained_variance": True},
        "meta_test": {
            "dataset": "glyphs",
            "metrics": {metric: {"mean": test, "ci95": half, "episodes": episodes}, "loss": loss},
            "adaptation": {metric: {"mean": list(adaptation), "ci95": [half] * len(adaptation)}},
            **({"pooled": dict(pooled)} if pooled else {}),
        },
        "meta_val": {
            "dataset": "glyphs",
            "metrics": {metric: {"mean": val, "ci95": half, "episodes": 100}, "loss": loss},
        },
        "protocol": {"dataset": "glyphs"},
        "train": {
            "dataset": "glyphs",
            "same_source": True,
            "steps": 1000,
            "tested_step": 800,
            "seconds": 75.2,
            "tasks_per_second": 412.3,
        },
        **more,
    }


def write_run(
    folder: Path,
    overrides: Mapping[str, Any] | None = None,
    outcome: Mapping[str, Any] | None = None,
    status: str = "done",
    time: str = "2026-11-21T10:00:00+00:00",
    **facts: Any,
) -> Path:
    """A run's folder: with ``outcome`` as its ``result.json`` where it is done."""
    folder.mkdir(parents=True, exist_ok=True)
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text = yaml.dump(config(overrides), Dumper=dumper, sort_keys=False, allow_unicode=True)
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    (folder / "status.json").write_text(json.dumps({"status": status, "time": time, **facts}), encoding="utf-8")
    if status == "done":
        (folder / "result.json").write_text(json.dumps(outcome or result()), encoding="utf-8")
    return folder


def write_episodes(folder: Path, **columns: Sequence[float | str]) -> None:
    """``episodes.csv`` with a row for each value of the columns."""
    with (folder / "episodes.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["episode", *columns])
        for number, row in enumerate(zip(*columns.values(), strict=True)):
            writer.writerow([number, *row])


def write_many(folder: Path, count: int, seeds: int = 5) -> None:
    """Many runs: a grid of algorithms, step sizes and seeds, every hundredth of them failed."""
    algorithms = ("maml", "anil", "reptile", "protonet", "meta_sgd")
    for number in range(count):
        configuration, seed = divmod(number, seeds)
        lr = 10 ** -(1 + configuration // len(algorithms) / 10)
        settings = {"algorithm": algorithms[configuration % len(algorithms)], "algorithm.outer.lr": lr, "seed": seed}
        mean = 0.6 + 0.3 * (number * 7919 % 997) / 997
        failed = {"status": "failed", "reason": f"non-finite loss at step {number}"} if number % 100 == 99 else {}
        outcome = result(mean, mean + 0.01, adaptation=[0.2, mean - 0.1, mean])
        write_run(folder / f"algorithm={configuration},seed={seed}", settings, outcome, **failed)
