"""Search spaces: what is read from a command line and from files."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from metarun.config.compose import compose, loading, plain
from metarun.config.hydra import ConfigLoaderImpl
from metarun.core.errors import UserError
from metarun.setup.user_parts import checked
from metarun.sweep.random_search import RandomSearch
from metarun.sweep.space import Choice, Dimension, Interval, parse_sweep, searched
from metarun.sweep.trials import jobs_of

ALGORITHMS = sorted(file.stem for file in (Path(__file__).parents[2] / "conf/algorithm").glob("*.yaml"))


@pytest.fixture
def loader() -> Iterator[ConfigLoaderImpl]:
    with loading(None) as loader:
        yield loader


def typed(loader: ConfigLoaderImpl, text: str) -> Dimension:
    """The dimension of one override, typed beside the space of MAML."""
    dimensions, _ = searched(parse_sweep([text]), "maml", loader)
    return dimensions[text.partition("=")[0]]


@pytest.mark.parametrize(
    ("text", "expected"),
    {
        "dataset.shots=1,5": Choice(("1", "5")),
        "dataset.shots=choice(1,5)": Choice(("1", "5")),
        "model.hidden=[40,40],[80]": Choice(("[40,40]", "[80]")),
        "dataset.noise=interval(0.1, 2)": Interval(0.1, 2.0, log=False, whole=False),
        "dataset.noise=tag(log, interval(0.1, 2))": Interval(0.1, 2.0, log=True, whole=False),
        "dataset.shots=range(1, 6)": Interval(1.0, 5.0, log=False, whole=True),
        "dataset.shots=tag(log, range(1, 6))": Interval(1.0, 5.0, log=True, whole=True),
        "dataset.shots=tag(int, interval(1, 5))": Interval(1.0, 5.0, log=False, whole=True),
        "dataset.shots=range(1, 10, 4)": Choice(("1", "5", "9")),
    }.items(),
)
def test_values_typed(loader: ConfigLoaderImpl, text: str, expected: Dimension) -> None:
    assert typed(loader, text) == expected


MISTAKES = {
    "no interval": ("dataset.noise=interval(2, 1)", "the interval's first number must be below its second"),
    "a logarithm of zero": ("dataset.noise=tag(log, interval(0, 1))", "a log scale needs numbers above 0"),
    "a broken integer": (
        "dataset.shots=tag(int, interval(0.5, 2))",
        "an interval of integers needs integer bounds",
    ),
    "an unknown tag": ("dataset.shots=tag(lin, interval(1, 2))", "no tag 'lin'; there are log and int"),
}


@pytest.mark.parametrize(("text", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes(loader: ConfigLoaderImpl, text: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected) as caught:
        typed(loader, text)
    assert str(caught.value).startswith(text)


def test_typed_values_replace_those_of_the_space(loader: ConfigLoaderImpl) -> None:
    dimensions, fixed = searched(parse_sweep(["algorithm.inner_lr=0.4", "algorithm.outer.lr=0.1,0.2"]), "maml", loader)
    assert dimensions.keys() == {"algorithm.inner_steps", "algorithm.outer.lr"}
    assert dimensions["algorithm.outer.lr"] == Choice(("0.1", "0.2"))
    assert fixed == []


def test_seeds_are_no_dimension(loader: ConfigLoaderImpl) -> None:
    command = parse_sweep(["seed=0,1,2"])
    assert command.seeds == ["0", "1", "2"]
    assert "seed" not in searched(command, "maml", loader)[0]
    with pytest.raises(UserError, match="seeds are given one by one"):
        parse_sweep(["seed=interval(0, 3)"])


def test_user_space(tmp_path: Path) -> None:
    (tmp_path / "sweep/space").mkdir(parents=True)
    (tmp_path / "sweep/space/mine.yaml").write_text("dataset.shots: range(1, 6)\nengine.steps: 7\n")
    with loading(str(tmp_path)) as loader:
        dimensions, fixed = searched(parse_sweep([]), "mine", loader)
        assert dimensions == {"dataset.shots": Interval(1.0, 5.0, log=False, whole=True)}
        assert fixed == ["engine.steps=7"]
        with pytest.raises(UserError, match=r"sweep\.space=mien: no such search space; did you mean 'mine'\?"):
            searched(parse_sweep([]), "mien", loader)


def test_keys_swept_together_are_one_dimension(tmp_path: Path) -> None:
    (tmp_path / "sweep/space").mkdir(parents=True)
    lines = ("dataset.shots: 1,5", "hypernet+embedding: none+none,film+support", "engine.steps: 7")
    (tmp_path / "sweep/space/mine.yaml").write_text("\n".join(lines))
    together = "model.hidden+algorithm.inner_lr"
    with loading(str(tmp_path)) as loader:
        dimensions, fixed = searched(parse_sweep([f"{together}=[[64,64],0.01],[[32],0.1]"]), "mine", loader)
        assert dimensions == {
            "dataset.shots": Choice(("1", "5")),
            "hypernet+embedding": Choice(("none+none", "film+support")),
            together: Choice(("[[64,64],0.01]", "[[32],0.1]")),
        }
        assert fixed == ["engine.steps=7"]
        # What is typed for one of the keys leaves the other by itself.
        assert "hypernet+embedding" not in searched(parse_sweep(["embedding=support"]), "mine", loader)[0]
    (job,) = jobs_of(0, {together: "[[64,64],0.01]", "hypernet+embedding": "film+support"}, [], [])
    assert job.varied == ["model.hidden=[64,64]", "algorithm.inner_lr=0.01", "hypernet=film", "embedding=support"]


def test_nothing_to_search(loader: ConfigLoaderImpl) -> None:
    with pytest.raises(UserError, match="nothing to search"):
        searched(parse_sweep(["algorithm.outer.lr=0.1"]), "outer", loader)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_accepts_draws_from_its_space(algorithm: str) -> None:
    with loading(None) as loader:
        dimensions, fixed = searched(parse_sweep([]), algorithm, loader)
    jobs = list(RandomSearch(dimensions, fixed, [], trials=2, draws=0).ask())
    assert len(jobs) == 2
    for job in jobs:
        config = compose([f"algorithm={algorithm}", *job.overrides])
        checked(plain(config, config.hydra.runtime.choices), None)
