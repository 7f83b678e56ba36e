"""The data sets to collect on: the same at every call, variants as they are named."""

import numpy as np
import pytest
from sklearn.datasets import load_wine

from metarun.automl import synthetic
from metarun.automl.task_sources import bundled, synthetic_tasks


def test_variants_of_a_data_set() -> None:
    found = {source.name: source for source in bundled("classification", 4, 0, ["iris", "digits"])}
    assert [*found] == [
        *("wine", "wine.columns-0", "wine.classes-1", "wine.rest-2", "wine.noise-3"),
        *("breast_cancer", *(f"breast_cancer.{'columns' if n % 2 == 0 else 'noise'}-{n}" for n in range(4))),
    ]
    assert {source.group for source in found.values()} == {"wine", "breast_cancer"}
    x, y = load_wine(return_X_y=True)
    data = {name: found[f"wine{name}"].build() for name in ("", ".columns-0", ".classes-1", ".rest-2", ".noise-3")}
    np.testing.assert_array_equal(data[""].x, x)
    half = data[".columns-0"].x
    assert half.shape == (178, 6)
    assert all(any((column == other).all() for other in x.T) for column in half.T)
    assert len(data[".classes-1"].y) == np.isin(y, [0, 1]).sum() or len(data[".classes-1"].y) < 178
    assert np.bincount(data[".rest-2"].y)[1] in np.bincount(y)
    noise = (data[".noise-3"].x - x) / x.std(0)
    assert 0.45 < noise.std() < 1.55
    assert not np.array_equal(found["wine.noise-3"].build().x, x)
    np.testing.assert_array_equal(found["wine.noise-3"].build().x, data[".noise-3"].x)


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_synthetic_ones_are_the_same_for_a_seed_and_others_for_another(kind: str) -> None:
    count = 2 * len(synthetic.FAMILIES[kind])
    one, again, other = (list(synthetic_tasks(kind, count, seed)) for seed in (0, 0, 1))
    assert len({source.group for source in one}) == count
    for source, same, different in zip(one, again, other, strict=True):
        data = source.build()
        assert np.isfinite(data.x).all()
        assert 100 < len(data.y) <= 1200
        np.testing.assert_array_equal(data.x, same.build().x)
        np.testing.assert_array_equal(data.y, same.build().y)
        assert not np.array_equal(data.y, different.build().y)
        if kind == "classification":
            assert np.bincount(data.y).min() >= 10
