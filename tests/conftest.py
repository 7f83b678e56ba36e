"""Fixtures for all tests."""

import logging
import sys
import types
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch

from metarun.command import cli
from metarun.core.kinds import KINDS

ACCEPTED_SKIPS = ("no CUDA device", "no shared data")
"""How the reasons for skipping a test begin that ``--strict-skips`` accepts."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--strict-skips",
        action="store_true",
        help=f"fail skipped tests, except for these reasons: {', '.join(ACCEPTED_SKIPS)}",
    )
    parser.addoption("--update-surface", action="store_true", help="rewrite tests/surface.yaml from the code")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return refused_skip((yield), item.config)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A module that skips itself, as `pytest.importorskip` does at its top."""
    return refused_skip((yield), collector.config)


Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def refused_skip(report: Report, config: pytest.Config) -> Report:
    """The report, failed where ``--strict-skips`` does not accept why the test was skipped."""
    expected_failure = hasattr(report, "wasxfail")
    if report.skipped and not expected_failure and config.getoption("strict_skips"):
        *_, reason = report.longrepr if isinstance(report.longrepr, tuple) else (str(report.longrepr),)
        if not reason.removeprefix("Skipped: ").startswith(ACCEPTED_SKIPS):
            report.outcome = "failed"
            report.longrepr = f"{reason}: not an accepted reason to skip a test (--strict-skips)"
    return report


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Hydra sets up the root logger for a run; leave it to the next test as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small tensors are slower on several threads, many times so where tests run in parallel."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="session")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One cache for the letters, and not the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def experiment(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], None]:
    """Replace what ``mode=train`` and ``mode=test`` run, once it is composed and checked.

    ``experiment(function(settings, folder))``; in a sweep ``function(settings, folder, processes, swept, stop_file)``.
    """

    def replace(run: Callable[..., Any]) -> None:
        def called(call: Any) -> None:
            job = () if call.stop_file is None else (call.processes, call.swept, call.stop_file)
            run(call.settings, call.folder, *job)

        for name in ("metarun.modes.train", "metarun.modes.test"):
            module = types.ModuleType(name)
            module.run = called  # type: ignore[attr-defined]
            monkeypatch.setitem(sys.modules, name, module)

    return replace


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run ``metarun`` in this process and an empty folder: ``command(*arguments)`` is (exit code, stdout, stderr)."""
    home = tmp_path / "here"
    home.mkdir()
    monkeypatch.chdir(home)

    def run(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        try:
            code = cli.main(arguments)
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        out, err = capfd.readouterr()
        return code, out, err

    return run


@pytest.fixture
def user_modules() -> Iterator[None]:
    """Modules of ``my_package``, its kinds of task, and folders to import from are removed after a test."""
    path, modules, kinds = list(sys.path), set(sys.modules), dict(KINDS)
    yield
    KINDS.clear()
    KINDS.update(kinds)
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("my_package"):
            del sys.modules[name]
