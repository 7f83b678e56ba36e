"""The tasks of a run: shapes, number, protocol."""

from torch.utils._pytree import tree_map

from metarun.core.columns import columns
from metarun.core.names import shown
from metarun.core.tasks import SPLITS, AnyExamples
from metarun.engine.evaluation import episodes_of
from metarun.summary.planned_run import PlannedRun
from metarun.training.results import protocol


def tasks(run: PlannedRun) -> str:
    """Shapes and number of the tasks of each split, and the protocol."""
    settings, dataset = run.settings, run.dataset
    engine = settings.engine
    rows = [["stream", "support x", "support y", "query x", "query y", "tasks"]]
    for split in SPLITS:
        group = 0 if engine.order == "sequential" and split == "train" else None
        task = dataset.sample(split, 0, 1, group)
        episodes = engine.val_episodes if split == "val" else engine.test_episodes
        number = _training_tasks(run) if split == "train" else f"{episodes_of(dataset, split, episodes):,}, fixed"
        rows.append([f"meta-{split}", *_shapes(task.support), *_shapes(task.query), number])
    for one in run.tests:
        task = one.dataset.sample("test", 0, 1)
        fixed = f"{episodes_of(one.dataset, 'test', engine.test_episodes):,}, fixed"
        rows.append([f"meta-test {one.name}", *_shapes(task.support), *_shapes(task.query), fixed])
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


def _training_tasks(run: PlannedRun) -> str:
    if run.settings.engine.train_tasks is not None:
        return f"the first {run.settings.engine.train_tasks:,}, repeated"
    known = run.dataset.known_tasks
    return f"{known:,} known tasks, repeated" if known else "new tasks"


def _shapes(examples: AnyExamples) -> list[str]:
    most = "" if examples.mask is None else "up to "
    return [most + shown(tree_map(lambda tensor: list(tensor.shape[1:]), part)) for part in (examples.x, examples.y)]
