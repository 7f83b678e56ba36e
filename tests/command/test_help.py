"""The help lists what a person can choose."""

import re
from pathlib import Path

from metarun.command.help import WIDTH, help_text, listed
from metarun.config.groups import GROUPS


def test_every_group_and_option_is_listed_and_no_group_within_a_group() -> None:
    lines = help_text([], None).splitlines()
    begin = lines.index("Groups and their options (group=option)")
    end = lines.index("Keys of this choice of options (key=value)")
    told = "\n".join(lines[begin + 1 : end])
    conf = Path(__file__).parents[2] / "conf"
    groups = {place.name for place in conf.iterdir() if any(place.glob("*.yaml"))} - {"hydra"}
    assert groups == set(GROUPS)
    for group in groups:
        (line,) = (line for line in lines[begin:end] if line.startswith(f"  {group} "))
        assert line.split()[1].strip(",") == min(file.stem for file in (conf / group).glob("*.yaml"))
        for file in (conf / group).glob("*.yaml"):
            assert f" {file.stem}," in f"{told},".replace("\n", ",")
    assert "/" not in told


def test_a_users_own_groups_and_options_are_listed(tmp_path: Path) -> None:
    for name in ("dataset/tides", "color/red"):
        file = tmp_path / f"{name}.yaml"
        file.parent.mkdir()
        file.write_text("hue: 1\n", encoding="utf-8")
    text = help_text([], str(tmp_path))
    assert "tides" in text
    assert re.search(r"\n  color +red\n", text)


def test_long_lists_are_wrapped_and_aligned() -> None:
    first, second = listed({"dataset": [f"option_{number}" for number in range(12)]}).splitlines()
    assert len(first) <= WIDTH
    assert first.index("option_0") == second.index("option_1")
