"""Keys joined by ``+``, as Hydra's overrides."""

import pytest

from metarun.config.compose import parse
from metarun.config.zipped_keys import joined, separate
from metarun.core.errors import UserError
from metarun.sweep.space import parse_sweep

EMBED = "hypernet+embedding=none+none,film+support"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (EMBED, ["hypernet=none,film", "embedding=none,support"]),
        ("hypernet+embedding=choice(none+none,film+support)", ["hypernet=none,film", "embedding=none,support"]),
        ("hypernet+embedding=[none,none],[film,support]", ["hypernet=none,film", "embedding=none,support"]),
        ("a.x+b=[[8,8],0.1],[[9],1e+5]", ["a.x=[8,8],[9]", "b=0.1,100000.0"]),
        ("a+b=['x+y, z',null],[w,true]", ["a='x+y, z',w", "b=null,True"]),
        ("a+b+c=1+2+3", ["a=1", "b=2", "c=3"]),
    ],
)
def test_choices_are_split_into_overrides(text: str, expected: list[str]) -> None:
    assert separate(text) == expected
    command = parse_sweep([text])
    if len(parse([text])[0].input_line or "") and parse([text])[0].is_sweep_override():
        rows = command.rows(command.leaders()[0])
        key, value = joined(list(rows[0]), list(rows[0].values()))
        assert [text.split("=", 1)[1] for text in separate(f"{key}={value}")] == list(rows[0].values())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hypernet+embedding=none,film", "2 values joined by \\+ are expected, not none; values that contain a \\+"),
        ("hypernet+embedding=a+b+c", "2 values joined by \\+ are expected, not a\\+b\\+c"),
        ("hypernet+embedding=range(3)", "joined values are given as in a\\+b,c\\+d"),
        ("hypernet+hypernet=a+b,c+d", "a key is given twice"),
        ("algorithm+seed=maml+0,anil+1", "seed: not a key of the configuration"),
        ("algorithm+hydra.run.dir=maml+a,anil+b", "hydra.run.dir: not a key of the configuration"),
    ],
)
def test_mistakes(text: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        parse([text])
