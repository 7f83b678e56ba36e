"""The surface that users rely on, collected from the code: what `tests/surface.yaml` lists.

Options and keys are read from the composed configuration and the classes that it names; files, keys of ``result.json``
and TensorBoard tags from small runs, which together have everything that a run can leave.
"""

import dataclasses
import hashlib
import importlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

import tiny_data
import yaml
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from metarun.command import cli
from metarun.config.compose import compose, loading
from metarun.config.groups import GROUPS, ROOT_KEYS, TESTS, Root
from metarun.config.modes import MODES
from metarun.core.errors import Diverged, Interrupted, UserError
from metarun.setup.check import described

LIST = Path(__file__).resolve().parents[1] / "surface.yaml"
CHANGELOG = LIST.parents[1] / "CHANGELOG.md"

SMALL = (
    "debug=fast", "engine.steps=3", "engine.val_every=3", "engine.val_episodes=2", "engine.test_episodes=4",
    "engine.checkpoint_every=3", "device.name=cpu", "device.threads=1", "tracking.tasks=1", "tracking.gradient_tasks=2",
)  # fmt: skip
CONV = ("dataset.ways=2", "dataset.queries=1", "dataset.train_queries=1", "model.channels=4", "model.layers=2")
MLP = ("model=mlp", "model.hidden=[4]")
RUNS = {
    "images": (*CONV, "algorithm=meta_sgd"),
    "attention": (*CONV, "algorithm=matching"),
    "functions": (
        "dataset=sinusoid", *MLP, "hypernet=film", "embedding=support", "algorithm.test_steps=best",
        "algorithm.outer.tasks.select=k_medoids", "regularizer.l2=0.1", "regularizer.embedding=0.1",
        "regularizer.proximal=0.1", "engine.profile_steps=1", "engine.steps=5", "test_dataset=[harmonics]",
    ),
    "sequence": (
        "dataset=polynomials", *MLP, "hypernet=full", "embedding=learned", "embedding.fit_steps=3",
        "engine.order=sequential", "regularizer.output=0.1", "algorithm.outer.tasks.select=loss",
    ),
    "table": ("dataset=table", "dataset.path=table.csv", *MLP),
    "not finite": ("dataset=sinusoid", *MLP, "algorithm=scratch", "algorithm.inner_lr=1e30"),
}  # fmt: skip
"""Runs that together have every picture, every kind of tasks and every optional block of ``result.json``."""
FURTHER = "harmonics"
"""The further data set that a run is tested on, whose name does not matter."""
SWEEPS = {
    "grid": ("sweep=grid", "seed=0,1"),
    "search": ("sweep=optuna", "sweep.trials=2", "algorithm.inner_lr=interval(0.001,0.01)"),
}
Experiment = Callable[[Callable[..., Any]], None]


def collected(experiment: Experiment) -> dict[str, Any]:
    """The whole surface. Runs in the current folder, which is empty; ``experiment``: the fixture of that name."""
    tiny_data.table(Path("table.csv"))
    places = [run(Path(name), *overrides) for name, overrides in RUNS.items()]
    places.append(run(Path("tested"), "mode=test", "checkpoint=functions", small=()))
    sweeps = [run(Path(name), "-m", *RUNS["table"], *chosen, key="hydra.sweep.dir") for name, chosen in SWEEPS.items()]
    results = [json.loads((place / "result.json").read_text(encoding="utf-8")) for place in places]
    higher = {metric: better for result in results for metric, better in result["higher_is_better"].items()}
    general = General({method for result in results for method in result["baselines"]["methods"]}, set(higher))
    return {
        "keys of no group": keys(Root, root_defaults()),
        "modes": {mode.name: mode.about for mode in MODES.values()},
        "groups": {group: options(group) for group in GROUPS},
        "files of a run": sorted({name for place in places for name in files(place)}),
        "files of a sweep": sorted({name for place in sweeps for name in files(place, of_a_sweep=True)}),
        "metrics": {metric: f"{'higher' if better else 'lower'} is better" for metric, better in higher.items()},
        "baselines": sorted(general.baselines),
        "keys of result.json": sorted({general.key(key) for result in results for key in leaves(result)}),
        "columns of episodes.csv": sorted({general.column(name) for name in columns(places, "episodes.csv")}),
        "columns of embeddings.csv": sorted({general.column(name) for name in columns(places, "embeddings.csv")}),
        "TensorBoard": {
            kind: sorted({general.tag(tag) for place in places for tag in tags(place, kind)})
            for kind in ("scalars", "histograms", "images", "tensors")
        },
        "exit codes": exit_codes(experiment),
    }


@dataclasses.dataclass
class General:
    """Names in which those of metrics, baselines and layers do not matter."""

    baselines: set[str]
    metrics: set[str]

    def key(self, key: str) -> str:
        """A key of ``result.json``."""
        parts = (
            "METRIC" if part in self.metrics else "BASELINE" if part in self.baselines else part
            for part in key.replace(f"test_datasets.{FURTHER}", "test_datasets.NAME").split(".")
        )
        return ".".join(parts)

    def column(self, name: str) -> str:
        if name.removesuffix("_before") in self.metrics:
            return "METRIC" + "_before" * name.endswith("_before")
        if name.startswith("baseline_"):
            return "baseline_BASELINE"
        return re.sub(r"^e\d+$", "eN", name)

    def tag(self, tag: str) -> str:
        """A tag of TensorBoard, without the names of layers behind the group."""
        for baseline in self.baselines:
            tag = tag.replace(f"/{baseline.replace('_', ' ')} ", "/BASELINE ")
        tag = tag.replace(f"meta-test {FURTHER}", "meta-test NAME")
        tag = re.sub(r"^(outer-gradient/\w+)\..*", r"\1.LAYER", tag)
        tag = re.sub(rf"\b({'|'.join(sorted(self.metrics))})\b", "METRIC", tag)
        return re.sub(r"\b(layers\.\d+|norms\.\d+|head)\b.*", "LAYER", tag)


def run(folder: Path, *overrides: str, key: str = "hydra.run.dir", small: tuple[str, ...] = SMALL) -> Path:
    code = cli.main([*small, *overrides, f"{key}={folder}"])
    assert code == 0, overrides
    return folder


def exit_codes(experiment: Experiment) -> dict[int, str]:
    """The exit code of each way in which a run may end."""
    ways: dict[str, BaseException | None] = {
        "done": None,
        "a bug of metarun": ZeroDivisionError(),
        "a mistake of the user": UserError(""),
        "meta-training diverged": Diverged(""),
        "stopped by the user": Interrupted(""),
    }
    found = {}
    for number, (way, error) in enumerate(ways.items()):
        experiment(partial(ended, error))
        found[cli.main([f"hydra.run.dir=ended{number}"])] = way
    return found


def ended(error: BaseException | None, *arguments: Any) -> None:
    if error is not None:
        raise error


def root_defaults() -> dict[str, Any]:
    found = OmegaConf.to_container(compose([]), resolve=False)
    assert isinstance(found, dict)
    return {key: found[key] for key in ROOT_KEYS}


def options(group: str) -> Any:
    """The options of a group, with the keys of each; names alone for groups that only set keys of others."""
    with loading(None) as loader:
        names = sorted(loader.get_group_options(group))
    if group in (TESTS, "experiment", "debug"):
        return names
    return {name: option(group, name) for name in names}


def option(group: str, name: str) -> dict[str, str]:
    node = OmegaConf.to_container(compose([f"{group}={name}"], sweep=True)[group], resolve=False)
    assert isinstance(node, dict)
    module, _, kind = node["_target_"].rpartition(".")
    return keys(getattr(importlib.import_module(module), kind), node)


def keys(kind: type, node: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Every key of a class's settings: its default, and what it takes."""
    hints, found = get_type_hints(kind), {}
    for field in dataclasses.fields(kind):
        if field.init:
            value, hint = node[field.name], hints[field.name]
            if dataclasses.is_dataclass(hint):
                found |= keys(hint, value, f"{prefix}{field.name}.")
            else:
                default = "no default" if value == "???" else value if isinstance(value, str) else json.dumps(value)
                found[prefix + field.name] = f"{default} ({described(hint, field.metadata)})"
    return found


def files(folder: Path, *, of_a_sweep: bool = False) -> Iterator[str]:
    """Every file in a folder, without what differs from run to run; of a sweep without those of its jobs."""
    jobs = {path.parent for path in folder.rglob("config.yaml")} if of_a_sweep else set()
    for path in folder.rglob("*"):
        if path.is_file() and not any(job in path.parents for job in jobs):
            yield generic(path.relative_to(folder).as_posix())
    yield from ("JOB/" for _ in jobs)


def generic(name: str) -> str:
    """A path without time, machine, step and process."""
    folder, _, last = name.rpartition("/")
    if last.startswith("events.out.tfevents."):
        last = "events.out.tfevents.*" + ".ending" * last.endswith(".ending")
    last = last.replace(f"-{FURTHER}.", "-NAME.")
    first, *rest = folder.split("/")
    return "/".join(part for part in ("STEP" if first.isdigit() else first, *rest, last) if part)


def leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The keys of nested mappings, in full."""
    for name, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def columns(places: Iterable[Path], file: str) -> set[str]:
    found = (place / file for place in places)
    return {name for path in found if path.is_file() for name in path.read_text().splitlines()[0].split(",")}


def tags(folder: Path, kind: str) -> list[str]:
    """The tags of one kind in a run's events."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 1, "images": 1, "tensors": 1, "histograms": 1})
    events.Reload()
    names = events.Tags()[kind]
    assert isinstance(names, list)
    return names


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def written(surface: Mapping[str, Any]) -> str:
    """The text of the list."""
    head = "# What users rely on. Written by: python -m pytest tests/test_surface.py --update-surface\n"
    return head + yaml.safe_dump(dict(surface), sort_keys=False, allow_unicode=True, width=1000)


def newest_section() -> str:
    """The first section of the change log."""
    return CHANGELOG.read_text(encoding="utf-8").split("\n## ")[1]
