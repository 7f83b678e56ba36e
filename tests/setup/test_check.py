"""The rules by which keys become settings."""

from dataclasses import dataclass
from typing import Any

import pytest

from metarun.config.groups import PARTS
from metarun.core.errors import UserError
from metarun.core.fields import choice, number
from metarun.setup.check import check


@dataclass
class Inner:
    rate: float = number(above=0, most=1)


@dataclass
class Sample:
    count: int
    ratio: float = number(least=0)
    name: str
    flag: bool
    kind: str = choice("auto", "true", "false")
    maybe: int | None = number(least=1)
    text: str | None
    either: str | int
    rates: list[float] = number(above=0)
    words: dict[str, int]
    inner: Inner
    other: Inner | None
    anything: Any


@dataclass
class Empty:
    pass


class NoDataclass:
    pass


def node(**changes: Any) -> dict[str, Any]:
    values = {
        "_target_": f"{__name__}.Sample",
        "count": 3,
        "ratio": 0.5,
        "name": "a",
        "flag": True,
        "kind": "auto",
        "maybe": None,
        "text": None,
        "either": 1,
        "rates": [0.1, 2],
        "words": {"a": 1},
        "inner": {"rate": 1},
        "other": None,
        "anything": [1, {"a": None}],
    }
    return values | changes


def plain(dataset: Any = None, **root: Any) -> dict[str, Any]:
    parts: dict[str, Any] = {name: {"_target_": f"{__name__}.Empty"} for name in PARTS}
    parts["dataset"] = node() if dataset is None else dataset
    keys = {"seed": 0, "mode": "train", "checkpoint": None, "likelihood": "categorical", "resume": None}
    return {**parts, **keys, "choices": dict.fromkeys(PARTS, "sample"), **root}


def refusal(configuration: dict[str, Any]) -> str:
    with pytest.raises(UserError) as caught:
        check(configuration)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_good_values_arrive_typed() -> None:
    configuration = plain(node(ratio=2, kind=False, other={"rate": 0.5}))
    settings = check(configuration)
    dataset: Any = settings.dataset
    assert dataset == Sample(
        3, 2.0, "a", True, "false", None, None, 1, [0.1, 2.0], {"a": 1}, Inner(1.0), Inner(0.5), [1, {"a": None}]
    )
    assert type(dataset.ratio) is float
    assert type(dataset.rates[1]) is float
    assert settings.plain == configuration


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("count", "3", "dataset.count=3: an integer is expected"),
        ("count", 3.0, "dataset.count=3.0: an integer"),
        ("count", True, "dataset.count=true: an integer"),
        ("count", None, "dataset.count=null: an integer"),
        ("count", [1], "dataset.count=[1]: an integer"),
        ("ratio", -0.5, "dataset.ratio=-0.5: a number of at least 0 is expected"),
        ("ratio", "x", "dataset.ratio=x: a number of at least 0"),
        ("ratio", float("nan"), "dataset.ratio=nan: a number"),
        ("ratio", float("inf"), "dataset.ratio=inf: a number"),
        ("name", 5, "dataset.name=5: a string is expected; quote it"),
        ("name", None, "dataset.name=null: a string is expected"),
        ("flag", "yes", "dataset.flag=yes: true or false is expected"),
        ("flag", 1, "dataset.flag=1: true or false"),
        ("kind", "aut", "dataset.kind=aut: one of auto, true, false is expected; did you mean 'auto'?"),
        ("maybe", 0, "dataset.maybe=0: an integer of at least 1 or null is expected"),
        ("text", 1.5, "dataset.text=1.5: a string or null is expected"),
        ("either", 1.5, "dataset.either=1.5: a string or an integer is expected"),
        ("rates", [1, 0], "dataset.rates=[1,0]: a list of numbers above 0 is expected"),
        ("rates", 1, "dataset.rates=1: a list"),
        ("words", {"a": "b"}, "dataset.words={a:b}: a mapping"),
        ("inner", {"rate": 2}, "dataset.inner.rate=2: a number above 0 and at most 1 is expected"),
        ("inner", {}, "dataset.inner.rate: missing; a number above 0"),
        ("inner", 1, "dataset.inner=1: a mapping of keys is expected"),
        ("inner", {"rate": 1, "rat": 2}, "dataset.inner.rat=2: no key 'rat' in dataset.inner; did you mean"),
        ("other", {"rate": 0}, "dataset.other.rate=0: a number above 0"),
        ("cuont", 3, "dataset.cuont=3: no key 'cuont' in dataset=sample; did you mean 'dataset.count'? (keys: count, "),
    ],
)
def test_bad_value_is_refused_with_the_expected_type(key: str, value: Any, expected: str) -> None:
    assert refusal(plain(node(**{key: value}))).startswith(expected)


def test_a_missing_key_is_named() -> None:
    values = node()
    del values["name"]
    assert refusal(plain(values)) == "dataset.name: missing; a string is expected"


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        ({"seed": -1}, "seed=-1: an integer of at least 0"),
        ({"seed": "a"}, "seed=a: an integer"),
        ({"mode": "tset"}, "mode=tset: one of train, test, optimize, collect, info is expected; did you mean 'test'?"),
        ({"mode": "test"}, "mode=test needs checkpoint=PATH"),
        ({"checkpoint": "x"}, "checkpoint=x: not read with mode=train; add mode=test"),
        (
            {"mode": "test", "checkpoint": "x", "resume": "y"},
            "resume=y: continues training, which mode=test does not; give checkpoint=PATH",
        ),
        ({"foo": 1}, "no config group or key 'foo' (groups: dataset, "),
        ({"ratio": 1}, "no config group or key 'ratio'; did you mean 'dataset.ratio'?"),
        ({"experiment": {"seed": 1}}, "experiment=None: its file must begin with the line '# @package _global_'"),
        ({"model": None}, "model=null: choose one"),
        ({"model": {"a": 1}}, "model=sample: its file has no class"),
        ({"model": {"_target_": "nowhere.Thing"}}, "model=sample: _target_ nowhere.Thing cannot be imported"),
        ({"model": {"_target_": "Thing"}}, "model=sample: _target_ Thing cannot be imported"),
        ({"model": {"_target_": f"{__name__}.NoDataclass"}}, "model=sample: _target_"),
    ],
)
def test_the_root_is_checked_too(root: dict[str, Any], expected: str) -> None:
    assert refusal(plain(**root)).startswith(expected)


def test_every_group_must_be_there() -> None:
    configuration = plain()
    del configuration["algorithm"]
    assert refusal(configuration).startswith("algorithm: no option chosen")
