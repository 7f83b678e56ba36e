"""The page with everything: whole, its own, and safe whatever runs are called."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from run_folders import config, result

from metarun.report.comparison import Comparison
from metarun.report.effects import effects
from metarun.report.grouping import grouped
from metarun.report.page import page
from metarun.report.runs import Run, flat
from metarun.report.statistics import paired
from metarun.report.table import table
from metarun.report.unfinished import unfinished

EVIL = '"><script>alert(1)</script><img src=http://evil.example/x onerror=alert(1)>'


class Reader(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def run(overrides: dict[str, Any], status: str = "done", reason: str = "") -> Run:
    outcome = result(adaptation=[0.2, 0.9]) if status == "done" else {}
    return Run(Path(f"runs/{EVIL}"), flat(config(overrides)), status, reason, "", outcome)


def whole() -> Reader:
    runs = [
        run({"algorithm": EVIL}),
        run({"algorithm": "maml", "dataset.train_shots": EVIL}),
        run({"algorithm": EVIL}, "failed", EVIL),
    ]
    groups, _ = grouped(runs, [], None)
    tests = [Comparison(EVIL, "b", "accuracy", True, paired([1, 2, 4], [1, 1, 1]))]
    tables = [[table(group), *effects(group)] for group in groups]
    return Reader(page(groups, tables, unfinished(runs), tests))


def test_the_page_loads_and_runs_nothing() -> None:
    found = whole()
    assert not found.open
    assert not {"script", "iframe", "link", "object", "embed", "a"} & {tag for tag, _ in found.tags}
    for _, attributes in found.tags:
        assert all(value.startswith("data:image/") for key, value in attributes.items() if key == "src" and value)
        assert not any(key.startswith("on") for key in attributes)
    policy = [attributes["content"] for tag, attributes in found.tags if attributes.get("http-equiv")]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_everything_is_on_the_page() -> None:
    found = whole()
    assert found.text.count(EVIL) >= 5
    assert "best by validation" in found.text
    assert "not done: 1" in found.text
    assert "A - B = " in found.text
    pictures = [attributes["alt"] for tag, attributes in found.tags if tag == "img"]
    assert [str(told).split(":")[0] for told in pictures] == ["adaptation", "hyperparameters", "parallel"]
