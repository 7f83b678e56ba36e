"""Color where it is seen, and nowhere else."""

import io

import pytest

from metarun.core.color import colored


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_a_terminal_has_colors_and_a_file_has_none() -> None:
    assert colored("done", "green", Terminal()) == "\x1b[32mdone\x1b[0m"
    assert colored("done", "green", io.StringIO()) == "done"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_environment_variables_disable_colors(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert colored("done", "green", Terminal()) == "done"
