"""How names are told."""

from hypothesis import given
from hypothesis import strategies as st

from metarun.core.names import short_keys

names = st.lists(
    st.lists(st.sampled_from(["lr", "outer", "algorithm", "val", "x"]), min_size=1, max_size=4).map(".".join),
    unique=True,
    max_size=8,
)


@given(names)
def test_short_names_are_unique_endings(full: list[str]) -> None:
    found = short_keys(full, taken=("val",))
    assert list(found) == full
    assert len(set(found.values())) == len(full)
    assert all(name == ending or name.endswith(f".{ending}") for name, ending in found.items())
    assert all(ending != "val" or name == "val" for name, ending in found.items())


def test_short_keys_are_minimal() -> None:
    assert short_keys(["algorithm.outer.lr", "model.lr", "model.layers"]) == {
        "algorithm.outer.lr": "outer.lr",
        "model.lr": "model.lr",
        "model.layers": "layers",
    }
