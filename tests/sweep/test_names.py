"""Names of jobs as folders."""

import re

from hypothesis import given
from hypothesis import strategies as st

from metarun.sweep.names import LONGEST, job_name

values = st.dictionaries(
    st.sampled_from(["algorithm", "dataset.shots", "seed", "model.hidden", "+engine.x"]),
    st.text(max_size=60),
    max_size=5,
)


def test_keys_stand_in_order_and_the_seed_last() -> None:
    assert job_name({"seed": "3", "dataset.shots": "5", "algorithm": "maml"}) == "algorithm=maml,dataset.shots=5,seed=3"
    assert job_name({"seed": "3"}, before="trial-001") == "trial-001,seed=3"
    assert job_name({}) == "job"


def test_lists_are_legible_and_distinct() -> None:
    wide, deep = (job_name({"model.hidden": value}) for value in ("[40,40]", "[40,[40]]"))
    assert re.fullmatch(r"model\.hidden=-40,40-[0-9a-f]{8}", wide)
    assert wide != deep


@given(values)
def test_names_are_safe_folders(chosen: dict[str, str]) -> None:
    name = job_name(chosen)
    assert re.fullmatch(r"[\w.=,+-]+", name)
    assert len(name) <= LONGEST
    assert not name.startswith((".", "-"))


@given(values, values)
def test_other_values_have_another_name(one: dict[str, str], other: dict[str, str]) -> None:
    assert (job_name(one) == job_name(other)) == (one == other)


@given(values)
def test_the_order_typed_is_of_no_consequence(chosen: dict[str, str]) -> None:
    assert job_name(dict(reversed(chosen.items()))) == job_name(chosen)
