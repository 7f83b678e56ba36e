"""Past tuning as tasks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import tuning
import yaml

from metarun.core.errors import UserError
from metarun.datasets.configurations import Configurations, ConfigurationsConfig
from metarun.datasets.score_tables import tidy
from metarun.datasets.score_tables.encoding import encoded

CONF = Path(__file__).resolve().parents[2] / "conf" / "dataset" / "configurations.yaml"
SMALL = {"shots": 3, "train_shots": 5, "train_queries": None}


def load(folder: Path, seed: int = 0, **changes: Any) -> Configurations:
    values = {key: value for key, value in yaml.safe_load(CONF.read_text()).items() if not key.startswith("_")}
    config = ConfigurationsConfig(**{**values, **SMALL, "path": str(folder), **changes})
    return config.load(seed, torch.device("cpu"), torch.float64)


def test_an_example_is_a_configuration_and_its_score(tmp_path: Path) -> None:
    data, table = load(tuning.written(tmp_path)), tuning.table()
    values, names = encoded(table.space, table.configurations)
    assert data.feature_names == tuple(names)
    assert data.inputs.shape == (len(names),)
    batch = data.sample("test", 0, 4)
    assert batch.support.x.shape == (4, 3, len(names))
    assert batch.query.x.shape == (4, 15, len(names))
    for task in range(4):
        seen = []
        for part in (batch.support, batch.query):
            for x, y in zip(part.x[task], part.y[task, :, 0], strict=True):
                place = int(np.abs(values - x.numpy()).max(1).argmin())
                assert values[place] == pytest.approx(x.numpy())
                score = table.scores["error"][int(batch.source[task]), place]
                assert float(y) * data.target_std + data.target_mean == pytest.approx(score)
                seen.append(place)
        assert sorted(seen) == list(range(18))


def test_scores_are_standardized_by_meta_training(tmp_path: Path) -> None:
    data = load(tuning.written(tmp_path), metric="accuracy")
    scores = tuning.table().scores["accuracy"][data.members("train")]
    assert (data.target_mean, data.target_std) == pytest.approx((scores.mean(), scores.std()))
    assert data.protocol()["direction"] == "maximize"


def test_meta_features_are_the_descriptor(tmp_path: Path) -> None:
    data, features = load(tuning.written(tmp_path)), tuning.table().features
    train = features[data.members("train")]
    batch = data.sample("val", 0, 2)
    expected = (features[batch.source] - train.mean(0)) / train.std(0)
    assert batch.descriptor.numpy() == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(8))
def test_groups_stay_on_one_side(tmp_path: Path, seed: int) -> None:
    data, groups = load(tuning.written(tmp_path), seed), tuning.table().groups
    sides = [set(groups[data.members(split)]) for split in ("train", "val", "test")]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 10
    assert sum(len(data.members(split)) for split in ("train", "val", "test")) == 12


def test_training_supports_vary_in_size(tmp_path: Path) -> None:
    data = load(tuning.written(tmp_path), train_shots=6, train_min_shots=2, train_queries=4)
    batch = data.sample("train", 0, 400)
    sizes = batch.support.mask.sum(1).int()
    counts = torch.bincount(sizes, minlength=7)[2:]
    assert counts.sum() == 400
    assert counts.min() > 400 / 5 * 0.6
    assert batch.query.x.shape[1] == 4
    assert (batch.support.x[batch.support.mask == 0] == 0).all()
    for task in range(20):
        rows = torch.cat([batch.support.x[task][batch.support.mask[task] > 0], batch.query.x[task]])
        assert len(torch.unique(rows, dim=0)) == len(rows)
    # Validation and test have fixed shapes, and the stream is pure.
    assert data.sample("train_eval", 0, 5).support.x.shape[1] == 3
    again = data.sample("train", 1, 200)
    assert torch.equal(again.support.y, batch.support.y[200:])
    assert data.distinct("train") is None


def test_supports_of_one_size(tmp_path: Path) -> None:
    data = load(tuning.written(tmp_path), train_min_shots=None)
    assert data.sample("train", 0, 50).support.mask is None


def test_failed_and_missing_evaluations_are_no_examples(tmp_path: Path) -> None:
    table = tuning.table()
    table.scores["error"][:, 4] = np.nan
    table.scores["error"][3, 7] = np.nan
    table.failed[:, 4] = True
    tidy.write(tmp_path, table)
    data = load(tmp_path, test_tasks=["data3", "data5"])
    batch = data.sample("test", 0, 2)
    assert batch.query.mask.sum(1).tolist() == [13, 14]


def test_chosen_test_tasks_and_fewer_configurations(tmp_path: Path) -> None:
    data = load(tuning.written(tmp_path), test_tasks=["data8"], configurations=9)
    assert data.members("test") == [8, 9]  # a group
    assert len(data.scores.identifiers) == len(data.encoding) == 9
    assert load(tmp_path, seed=5, configurations=9).scores.identifiers == data.scores.identifiers
    assert data.source()["content"] != load(tmp_path, test_tasks=["data8"]).source()["content"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"configurations": 99}, r"dataset\.configurations=99: .* has 18"),
        ({"metric": "f1"}, r"dataset\.metric=f1: .* no such metric"),
        ({"train_min_shots": 6}, r"dataset\.train_min_shots=6: more than the 5 shots of meta-training"),
        ({"split": "rows", "test_tasks": ["data1"]}, r"dataset\.test_tasks: only with dataset\.split=tasks"),
        ({"shots": 18}, r"dataset\.shots=18 and dataset\.queries=null need 19 rows"),
    ],
)
def test_unsuitable_keys_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(tuning.written(tmp_path), **changes)


def test_a_task_without_scores_is_refused(tmp_path: Path) -> None:
    table = tuning.table()
    table.scores["error"][2] = np.nan
    table.failed[2] = True
    tidy.write(tmp_path, table)
    with pytest.raises(UserError, match=r"task 'data2' has no score in error"):
        load(tmp_path)
