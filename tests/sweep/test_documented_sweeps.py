"""Every sweep that the manual and the README show: composed, checked and launched, with runs that end at once."""

import json
import re
import shlex
from pathlib import Path

import pytest
from documents import DOCS
from fake_runs import Command, Runs

PAGES = ("README.md", *sorted(f"docs/{page.name}" for page in DOCS.glob("*.md")), "conf/config.yaml")
_ELSEWHERE = re.compile(r"\+*hydra[/.]launcher\b.*|sweep\.parallel=.*")
"""What starts other processes, or needs a cluster; the launchers' own tests have it."""


def sweeps(page: str) -> list[list[str]]:
    """The arguments of each ``metarun -m`` in a page: in fenced blocks with their continued lines and variables, and
    within the text."""
    text = (DOCS.parent / page).read_text(encoding="utf-8")
    fenced = "\n".join(re.findall(r"^```\w*\n(.*?)^```$", text, re.M | re.S)) if page.endswith(".md") else text
    lines = [line.strip() for line in re.sub(r"\\\n\s*", " ", fenced).splitlines()]
    for name, value in re.findall(r"^(\w+)=\"(.*)\"$", "\n".join(lines), re.M):
        lines = [line.replace(f"${name}", value) for line in lines]
    lines += re.findall(r"`(metarun -[^`]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))
    # In the help, a few blanks part a command from what it does.
    words = [shlex.split(re.sub(r" {3}.*", "", line), comments=True) for line in lines if line.startswith("metarun ")]
    return [found[1:] for found in words if "-m" in found and len(found) > 2 and "…" not in " ".join(found)]


SWEEPS = [(page, arguments) for page in PAGES for arguments in sweeps(page) if "--config-dir" not in arguments]


def test_they_are_found() -> None:
    """Those with parts of one's own are done by the test of that page."""
    found = {page: sum(page == other for other, _ in SWEEPS) for page in PAGES}
    assert found["docs/sweeps.md"] >= 7
    assert found["README.md"] >= 3
    assert found["docs/cluster.md"] >= 3
    assert found["docs/report.md"] >= 1
    assert found["docs/tensorboard.md"] >= 1


@pytest.mark.parametrize(("page", "arguments"), SWEEPS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_sweep_of_the_manual_runs(
    command: Command,
    runs: Runs,
    page: str,
    arguments: list[str],
) -> None:
    if "sweep=optuna" in arguments:
        pytest.importorskip("optuna")
    mine = [text for text in arguments if not _ELSEWHERE.fullmatch(text)]
    # A few of many trials, and one of many seeds, show as much.
    if page != "docs/sweeps.md":
        mine = ["seed=0" if text.startswith("seed=") else text for text in mine]
    few = ["sweep.trials=3"] if any(text in ("sweep=optuna", "sweep=random") for text in mine) else []
    code, out, err = command(*mine, *few, "hydra.sweep.dir=swept")
    assert (code, err) == (0, "")
    jobs = int(re.findall(r"sweep of (\d+) jobs? ", out)[0])
    assert len(runs.begun) == jobs
    ended = [json.loads(file.read_text())["status"] for file in Path("swept").glob("*/status.json")]
    assert ended == ["done"] * jobs


def test_documented_output_of_the_ablation(command: Command, runs: Runs) -> None:
    text = (DOCS / "sweeps.md").read_text(encoding="utf-8")
    typed, told = re.findall(
        r"^```\n(metarun -m hypernet=.*?)\n```\n\nprints\n\n```text\n(.*?)```$", text, re.M | re.S
    )[0]
    code, out, _ = command(*shlex.split(typed)[1:], "hydra.sweep.dir=sweep")
    expected = told.replace("outputs/sweeps/…", "sweep").splitlines()
    assert code == 0
    assert out.splitlines()[: len(expected)] == expected
