"""What a run would be, told without running it: ``mode=info``."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch.utils._pytree import tree_map

from metarun.algorithms.base import Learned
from metarun.algorithms.outer_loop import OuterLoop
from metarun.config.groups import TESTS
from metarun.config.quoting import command_line
from metarun.core.columns import columns
from metarun.core.errors import UserError
from metarun.core.free_memory import available
from metarun.core.names import FOLLOWED, shown
from metarun.core.tasks import SPLITS, AnyExamples
from metarun.datasets.base import Dataset
from metarun.engine.evaluation import episodes_of
from metarun.engine.planning import Planner
from metarun.engine.processes.single import SINGLE_PROCESS
from metarun.learner.learner import Learner, MetaParameters, moving
from metarun.models.base import Parameters, count, layer_of
from metarun.models.memory import MEMORY
from metarun.modes.running import Call
from metarun.runs.checkpoint import State
from metarun.runs.files import (
    BEST,
    CONFIG,
    EMBEDDINGS,
    EPISODES,
    LAST,
    LOG,
    RESULT,
    STATUS,
    episodes_file,
    refuse_taken,
)
from metarun.setup.assemble import compose
from metarun.setup.settings import Settings
from metarun.setup.suite import FurtherTest, further_tests
from metarun.training.initial_state import first_state
from metarun.training.messages import relative_to_cwd
from metarun.training.profiling import FOLDER as PROFILE
from metarun.training.results import protocol
from metarun.training.soundness import refuse_unsound, refuse_unsound_tests

Rows = list[list[str]]


def run(call: Call) -> None:
    """Print what the run would be, and the line that runs it."""
    settings = call.settings
    if settings.resume is None:
        refuse_taken(call.folder)
    print(describe(settings, call.folder))
    rest = [text for text in call.typed if not text.startswith("mode=")]
    mode = [] if settings.trains else ["mode=test"]
    print(f"\nNothing was run or written. To run it: {command_line(settings.plain, *mode, *rest)}")


def describe(settings: Settings, folder: Path) -> str:
    """The run that these settings make, which would be left in ``folder``, for people.

    Data are read. Nothing is computed with them, other than to check parts of the user's own, and nothing is written,
    unless to the cache of decoded images.

    Raises `UserError` for what the run itself would refuse before its first step.
    """
    with settings.device.arithmetic():
        device = settings.device.resolve()
        dataset = _loaded(settings, device)
        learner, phi = compose(settings, dataset, device)
        refuse_unsound(settings, learner, phi, dataset)
        tests = _further_tests(settings, dataset, learner, phi, device)
        refuse_unsound_tests(settings, tests)
        run = _Run(settings, folder, device, dataset, tests, learner, phi)
        state = first_state(settings, dataset, folder, phi, device, SINGLE_PROCESS, tests)
        parts = (
            *(_tasks(run), _model(run), _hypernet(run), _meta_parameters(run), _followed(run)),
            *(_learning(run, state), _computing(run, state), _left(run)),
        )
    return "\n\n".join(part for part in parts if part)


@dataclass(frozen=True)
class _Run:
    settings: Settings
    folder: Path
    device: torch.device
    dataset: Dataset
    tests: Sequence[FurtherTest]
    learner: Learner
    phi: MetaParameters

    def choice(self, group: str) -> str:
        """As on the command line: ``model=conv4``."""
        return f"{group}={self.settings.plain['choices'][group]}"


def _loaded(settings: Settings, device: torch.device) -> Dataset:
    """The dataset, of files that are there."""
    config, key = settings.dataset, "download"
    if not any(field.name == key and getattr(config, key) is True for field in fields(config)):  # type: ignore[arg-type]
        return settings.load_dataset(device)
    try:
        return settings.load_dataset(device, **{key: False})
    except UserError as error:
        option = settings.plain["choices"]["dataset"]
        raise UserError(f"mode=info downloads nothing, and dataset={option} is not there yet: {error}") from error


def _further_tests(
    settings: Settings, dataset: Dataset, learner: Learner, phi: MetaParameters, device: torch.device
) -> list[FurtherTest]:
    """Further data to test on, of files that are there."""
    asked = [name for name, config in settings.test_dataset.items() if getattr(config, "download", False) is True]
    try:
        return further_tests(settings, dataset, learner, phi, device, download=False)
    except UserError as error:
        if any(str(error).startswith(f"{TESTS}.{name}: no ") for name in asked):
            raise UserError(f"mode=info downloads nothing, and some data are not there yet: {error}") from error
        raise


def _tasks(run: _Run) -> str:
    settings, dataset = run.settings, run.dataset
    engine = settings.engine
    rows = [["stream", "support x", "support y", "query x", "query y", "tasks"]]
    for split in SPLITS:
        group = 0 if engine.order == "sequential" and split == "train" else None
        task = dataset.sample(split, 0, 1, group)
        asked = engine.val_episodes if split == "val" else engine.test_episodes
        many = _training_tasks(run) if split == "train" else f"{episodes_of(dataset, split, asked):,}, always the same"
        rows.append([f"meta-{split}", *_shapes(task.support), *_shapes(task.query), many])
    for one in run.tests:
        task = one.dataset.sample("test", 0, 1)
        told = f"{episodes_of(one.dataset, 'test', engine.test_episodes):,}, always the same"
        rows.append([f"meta-test {one.name}", *_shapes(task.support), *_shapes(task.query), told])
    kind = run.learner.problem.kind
    facts = [
        *(
            [name, shown(value)]
            for name, value in protocol(settings, dataset).items()
            if name not in ("dataset", "kind")
        ),
        ["kind", f"{kind.name}, {kind.noun}: {kind.targets}"],
        ["metric", f"{kind.metric} ({'higher' if kind.higher_is_better else 'lower'} is better)"],
    ]
    summaries = [f"  {dataset.summary()}", *(f"  tested on {one.dataset.summary()}" for one in run.tests)]
    return "\n".join((f"Tasks ({run.choice('dataset')})", *summaries, columns(rows), "", columns(facts)))


def _training_tasks(run: _Run) -> str:
    if run.settings.engine.train_tasks is not None:
        return f"the first {run.settings.engine.train_tasks:,}, again and again"
    known = run.dataset.known_tasks
    return f"{known:,} known ones, again and again" if known else "new ones all the time"


def _shapes(examples: AnyExamples) -> list[str]:
    most = "" if examples.mask is None else "up to "
    return [most + shown(tree_map(lambda tensor: list(tensor.shape[1:]), part)) for part in (examples.x, examples.y)]


def _model(run: _Run) -> str:
    theta: Parameters = dict(run.learner.model.network.named_parameters())
    made = run.learner.hypernet.made
    rows = _layers(theta)
    if made:
        start = {name: "of the task" if name in made else "of all tasks" for name in theta}
        rows = [
            [*row, ", ".join(dict.fromkeys(start[name] for name in theta if layer_of(name) == row[0]))] for row in rows
        ]
    return f"Task model ({run.choice('model')}): θ, {count(theta):,} numbers\n{columns(rows, right=[2])}"


def _followed(run: _Run) -> str:
    """Settings that were left to the other parts."""
    origins: dict[str, str] = run.settings.plain.get(FOLLOWED, {})
    values = dict.fromkeys(origins, run.settings.plain)
    for key in origins:
        for name in key.split("."):
            values[key] = values[key][name]
    rows = [[key, shown(values[key]), f"auto: {origin}"] for key, origin in origins.items()]
    return f"Defaults that follow from the parts chosen\n{columns(rows)}" if rows else ""


def _hypernet(run: _Run) -> str:
    hypernet, embedding = run.learner.hypernet, run.settings.embedding
    if not hypernet.made:
        return ""
    theta: Parameters = dict(run.learner.model.network.named_parameters())
    made = count({name: theta[name] for name in hypernet.made})
    return (
        f"Hypernetwork ({run.choice('hypernet')}): f, {count(run.phi['hypernet']):,} numbers, "
        f"makes {made:,} of θ⁰ from e\n"
        f"  e ({run.choice('embedding')}): {embedding.size:,} numbers, made by {count(run.phi['embedding']):,}"
    )


_GROUPS = {
    "theta": "θ₀, where the task model starts",
    "embedding": "of the task embedding",
    "hypernet": "of the hypernetwork",
    "algorithm": "of the algorithm itself",
}


def _meta_parameters(run: _Run) -> str:
    phi, learned = moving(run.phi), run.learner.learned(run.phi)
    total, free = (sum(map(count, groups.values())) for groups in (phi, learned))
    held = f", {total - free:,} of them held where they start" if free < total else ""
    lines = [f"Meta-parameters φ: {total:,} numbers{held}"]
    lines.append(columns([[_GROUPS[group], f"{count(own):,}"] for group, own in phi.items() if own], right=[1]))
    for group in ("embedding", "hypernet", "algorithm"):
        if phi[group]:
            lines += [f"  {group}", columns(_layers(phi[group]), right=[2], margin=4)]
    remembered = run.phi[MEMORY]
    if remembered:
        lines += [
            f"Remembered of the tasks met, moved by no gradient: {count(remembered):,} numbers",
            columns(_layers(remembered), right=[2]),
        ]
    return "\n".join(lines)


def _learning(run: _Run, state: State) -> str:
    settings, algorithm = run.settings, run.learner.algorithm
    train, test = (algorithm.steps(testing) for testing in (False, True))
    order = " (second order)" if algorithm.second_order and train else ""
    learned = f"{train} in meta-training{order}, " if isinstance(algorithm, Learned) else ""
    tries = algorithm.tries_steps
    best = "" if tries is None else f"; at the test as many of 0 to {tries} as are best on meta-val"
    rows = [["inner steps", f"{learned}{test} at validation{best or ' and test'}"]]
    if not isinstance(algorithm, Learned):
        rows.append(["outer loop", "none: nothing is meta-trained"])
    elif not settings.trains:
        rows.append(["outer loop", f"none: meta-tests φ after {state.step:,} meta-updates"])
    else:
        rows += _outer(run, algorithm.outer, state)
    return f"Learning ({run.choice('algorithm')})\n{columns(rows)}"


def _outer(run: _Run, outer: OuterLoop, state: State) -> Rows:
    engine = run.settings.engine
    done = f", {state.step:,} of them done" if state.step else ""
    rows = [
        ["outer loop", f"{outer.optimizer}, step size {outer.lr:g}, {outer.schedule}"],
        ["meta-updates", f"{engine.steps:,} of {_many(engine.meta_batch_size, 'task')}{done}"],
        ["validation", f"every {engine.val_every:,} meta-updates"],
    ]
    if engine.order == "sequential":
        per = "each group" if engine.schedule_per == "group" else "all of them"
        told = f"{len(run.dataset.groups):,} groups of tasks, one after another; step sizes scheduled over {per}"
        rows.append(["order", told])
    if outer.tasks.select != "all":
        rows.append(["tasks", f"chosen among {outer.tasks.pool} times as many ({outer.tasks.select})"])
    return rows


def _computing(run: _Run, state: State) -> str:
    settings, engine, decided = run.settings, run.settings.engine, dict(state.decisions)
    group = 0 if engine.order == "sequential" else None
    planner = Planner(
        run.learner,
        run.dataset,
        engine,
        settings.device.compile,
        decided,
        SINGLE_PROCESS,
        group,
        settings.device.records(run.device),
    )
    episodes = planner.episodes_at_once(run.phi)
    evaluation = decided.get("compile_evaluation", planner.wants_compiled_evaluation(run.phi))
    once = [f"{_many(episodes, 'episode')} of an evaluation"]
    compiled = [f"evaluation {'yes' if evaluation else 'no'}"]
    memory = [f"evaluation {_size(planner.evaluation_memory(run.phi, episodes))}"]
    if settings.trains and isinstance(run.learner.algorithm, Learned):
        tasks = planner.tasks_at_once(run.phi)
        once.insert(0, f"{tasks:,} of {_many(engine.meta_batch_size, 'task')} of a meta-update")
        compiled.insert(0, f"meta-step {'yes' if decided.get('compile', planner.wants_compiled(run.phi)) else 'no'}")
        memory.insert(0, f"meta-step {_size(planner.meta_step_memory(run.phi, tasks))}")
    threads = planner.threads(run.phi, settings.device)
    name = f" ({torch.cuda.get_device_name(run.device)})" if run.device.type == "cuda" else ""
    rows = [
        ["device", f"{run.device}{name}, {_many(threads, 'thread')}, {settings.device.precision}"],
        ["compiled", f"{', '.join(compiled)} (device.compile={settings.device.compile})"],
        ["at once", f"{', '.join(once)} (engine.task_chunk={engine.task_chunk})"],
        [
            "memory",
            f"{', '.join(memory)}: estimates, beside data, φ and optimizer; free: {_size(available(run.device))}",
        ],
    ]
    return f"Computing ({run.choice('device')})\n{columns(rows)}"


def _size(number: float | None) -> str:
    """Bytes as a person reads them."""
    if number is None:
        return "unknown"
    unit, name = (2**30, "GiB") if number >= 2**30 else (2**20, "MiB") if number >= 2**20 else (2**10, "KiB")
    return f"{number / unit:.1f} {name}"


def _many(number: int, noun: str) -> str:
    """As in "1 task" and "2 tasks"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _left(run: _Run) -> str:
    settings = run.settings
    files = [
        [CONFIG, "these settings"],
        [STATUS, "whether it runs, is done, failed or was interrupted"],
        [LOG, "what is told"],
        ["events.out.tfevents.*", "curves and pictures, for TensorBoard"],
    ]
    if settings.trains:
        files += [
            [LAST, "the latest state, to go on from"],
            [BEST, "φ of the best validation, which is meta-tested"],
        ]
        if settings.engine.profile_steps:
            files.append([f"{PROFILE}/", "where the time goes"])
    if settings.embedding.size:
        files.append([EMBEDDINGS, "e of each meta-test task"])
    files.append([EPISODES, "a row for each meta-test episode"])
    files += [[episodes_file(one.name), f"the same on {one.name}"] for one in run.tests]
    files += [[RESULT, "figures and their protocol"]]
    return f"Left in {relative_to_cwd(run.folder)}\n{columns(files)}"


def _layers(parameters: Parameters) -> list[list[str]]:
    """A row for each layer: its name, its tensors with their shapes, its numbers."""
    tensors: dict[str, list[str]] = {}
    numbers: dict[str, int] = {}
    for name, tensor in parameters.items():
        layer = layer_of(name)
        own = name.removeprefix(f"{layer}.") if layer != name else ""
        tensors.setdefault(layer, []).append(f"{own} {shown(list(tensor.shape))}".strip())
        numbers[layer] = numbers.get(layer, 0) + tensor.numel()
    return [[layer, "  ".join(tensors[layer]), f"{numbers[layer]:,}"] for layer in tensors]
