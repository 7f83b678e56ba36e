"""Tables of scores in memory."""

import numpy as np
import pytest
import tuning

from metarun.core.errors import UserError
from metarun.datasets.score_tables.table import grouped


def test_groups_join_names_and_copies() -> None:
    random = np.random.default_rng(0)
    scores = random.normal(size=(6, 4))
    scores[4] = scores[1]  # a copy under another name
    scores[2, 1] = np.nan
    scores[5] = scores[2]  # copies may have gaps
    # Task 3 is a variant of task 4, hence of task 1 as well.
    found = grouped(["a", "b", "c", "d", "d", "e"], {"error": scores})
    assert found.tolist() == [0, 1, 2, 1, 1, 2]


def test_copies_are_equal_in_all_metrics() -> None:
    same = np.ones((2, 3))
    assert grouped(["a", "b"], {"error": same, "seconds": np.arange(6.0).reshape(2, 3)}).tolist() == [0, 1]


def test_a_part_has_these_configurations() -> None:
    table = tuning.table()
    part = table.part(np.array([3, 11]))
    assert part.identifiers == ("c3", "c11")
    assert part.configurations == [table.configurations[3], table.configurations[11]]
    assert np.array_equal(part.scores["error"], table.scores["error"][:, [3, 11]])
    assert part.seconds is not None
    assert part.seconds.shape == part.failed.shape == (12, 2)
    assert part.fingerprint != table.fingerprint == tuning.table().fingerprint


def test_metrics_by_name() -> None:
    table = tuning.table()
    assert (table.metric(None), table.metric("accuracy")) == ("error", "accuracy")
    with pytest.raises(UserError, match=r"dataset\.metric=acuracy: small has no such metric; did you mean 'accuracy'"):
        table.metric("acuracy")
