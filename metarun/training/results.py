"""The result files of a run, which name the protocol of all numbers."""

import csv
import io
from collections.abc import Mapping, Sequence
from math import isfinite, nan
from pathlib import Path
from typing import Any

from torch import Tensor

from metarun.core.files import write_json, write_text
from metarun.core.intervals import paired_difference
from metarun.core.kinds import TaskKind, with_likelihood
from metarun.datasets.base import Dataset, source_of
from metarun.engine.evaluation import EvaluationResult, episodes_of
from metarun.engine.sequence import stream_by_group
from metarun.inspection.task_embeddings import TaskEmbeddings
from metarun.runs.baselines import compared, line, warning
from metarun.runs.files import EMBEDDINGS, RESULT, TEST_DATASETS
from metarun.runs.numbers import decimal
from metarun.runs.versions import versions
from metarun.setup.settings import Settings
from metarun.setup.suite import FurtherTest
from metarun.training.messages import amount


def result(
    kind: TaskKind,
    dataset: str,
    test: EvaluationResult,
    train: EvaluationResult | None,
    validation: dict[str, Any],
    forgetting: dict[str, Any] | None,
    protocol: dict[str, Any],
    training: dict[str, Any],
) -> dict[str, Any]:
    """The content of ``result.json``.

    Args:
        kind: Kind of the meta-test tasks.
        dataset: Name of the data set that everything was measured on (`data_name`).
        test: Meta-test episodes, with their whole curves and baselines.
        train: Episodes of the same shape on meta-train data; ``None`` where φ was trained on other data, so that there
            is no gap between what it has seen and what it has not.
        validation: The meta-val summary of the tested φ.
        forgetting: The forgetting matrix of a sequence.
        protocol: See `protocol`.
        training: Facts of the meta-training, its data set (``dataset``, ``source``) among them.
    """
    gap = None if train is None else {name: train.mean(name) - test.mean(name) for name in test.curves}
    return {
        "metric": kind.metric,
        "higher_is_better": {name: kind.directions[name] for name in (*test.curves, *test.pooled)},
        "meta_test": tested(kind, dataset, test),
        "baselines": {"dataset": dataset, **compared(kind, test)},
        "meta_val": measured(dataset, validation),
        **({} if train is None else {"meta_train": measured(dataset, train.summary()), "gap": gap}),
        **({"forgetting": {"dataset": dataset, **forgetting}} if forgetting else {}),
        "protocol": protocol,
        "train": training,
        "versions": versions(),
    }


def further_result(
    settings: Settings,
    of: FurtherTest,
    test: EvaluationResult,
    own_protocol: Mapping[str, Any],
    trained: Mapping[str, Any],
) -> dict[str, Any]:
    """The entry of a further data set in a result: meta-test, baselines and protocol.

    test: the evaluation, with adaptation curves and baselines. own_protocol: the protocol of the run's own test.
    trained: the source that φ was trained on; ``same_source``: whether the data are the same, with the same splits.
    """
    kind, source = of.learner.problem.kind, source_of(of.dataset)
    told = protocol(settings, of.dataset) | {"selection": own_protocol["selection"]}
    told = {name: value for name, value in told.items() if not name.startswith(("train_", "val_"))}
    return {
        "meta_test": tested(kind, of.data, test),
        "baselines": {"dataset": of.data, **compared(kind, test)},
        "protocol": told,
        "same_source": source == trained,
    }


def tested(kind: TaskKind, dataset: str, test: EvaluationResult) -> dict[str, Any]:
    """The block of figures of a meta-test: ``test``, with its whole curves."""
    return measured(
        dataset,
        test.summary(),
        pooled=test.pooled,
        adaptation=test.adaptation(),
        adaptation_gain=adaptation_gain(kind, test),
    )


def measured(dataset: str, summary: dict[str, Any], **more: dict[str, Any]) -> dict[str, Any]:
    """A block of figures: ``dataset`` names what they were measured on, ``metrics`` has an entry for each metric.

    summary: as `EvaluationResult.summary`. more: further parts of the block; empty ones are left out.
    """
    return {"dataset": dataset, "metrics": summary, **{name: part for name, part in more.items() if part}}


def adaptation_gain(kind: TaskKind, test: EvaluationResult) -> dict[str, Any]:
    """By how much adaptation betters the run's metric, paired by episode; negative where it does harm.

    Mean, half-width of its interval and p of a paired t-test, all clustered by task; nothing without inner steps.
    """
    curve = test.curves[kind.metric] if kind.higher_is_better else -test.curves[kind.metric]
    if curve.shape[1] < 2:
        return {}
    found = paired_difference(curve[:, -1].tolist(), curve[:, 0].tolist(), test.tasks)
    half = found.difference.half
    return {"metric": kind.metric, "mean": found.difference.mean, "ci95": nan if half is None else half, "p": found.p}


def markdown(content: dict[str, Any]) -> str:
    """The figures of a ``result.json`` as a table for people: every stage with the data set it was measured on."""
    metrics = list(content["meta_test"]["metrics"])
    lines = ["| stage | data set | " + " | ".join(metrics) + " |", "| --- " * (len(metrics) + 2) + "|"]
    further = content.get(TEST_DATASETS, {})
    tests = [("meta_test", content), *(("meta_test", block) for block in further.values())]
    for stage, block in (*tests, ("meta_val", content), ("meta_train", content)):
        if stage in block:
            found = [block[stage]["metrics"][name] for name in metrics]
            told = " | ".join(amount(each) + (f" ± {decimal(each['ci95'])}" * isfinite(each["ci95"])) for each in found)
            name = block[stage]["dataset"].replace("|", "\\|")
            lines.append(f"| {stage.replace('_', '-')} | {name} | {told} |")
    train = content["train"]
    for name, block in (("", content), *further.items()):
        lines += ["", f"Baselines{f' on {name}' * bool(name)}: {line(block['baselines'])}."]
        if not_beaten := warning(block):
            lines[-1] += f" **{not_beaten[0].upper()}{not_beaten[1:]}.**"
    return "\n".join((*lines, "", f"Trained on {train['dataset']} for {train['steps']:,} meta-updates."))


def protocol(settings: Settings, dataset: Dataset) -> dict[str, Any]:
    """All that a figure must name to be comparable with another."""
    engine = settings.engine
    return {
        "split_seed": None,
        **dataset.protocol(),
        "episode_seed": engine.episode_seed,
        "transductive": engine.transductive,
        "normalization": settings.model.normalization,
        "inner_steps": settings.algorithm.steps(testing=True),
        "test_episodes": episodes_of(dataset, "test", engine.test_episodes),
        "val_episodes": episodes_of(dataset, "val", engine.val_episodes),
        "order": engine.order,
        "selection": _selection(settings, dataset),
    }


def _selection(settings: Settings, dataset: Dataset) -> str:
    """Which φ was tested."""
    if not settings.trains:
        return f"checkpoint={settings.checkpoint}"
    if settings.engine.order == "sequential":
        return "the last"
    metric = with_likelihood(dataset.kind("val"), settings.likelihood).metric
    return f"best meta-val {metric}, validated every {settings.engine.val_every} steps"


def forgetting(kind: TaskKind, dataset: Dataset, matrix: list[list[float]]) -> dict[str, Any] | None:
    """A sequence's forgetting matrix: row j holds the metric on every group after learning group j.

    ``forgotten`` is, for each group learned, what its metric changed by from when it was learned to the end.
    """
    if not matrix:
        return None
    stream = stream_by_group(dataset)
    return {
        "metric": kind.metric,
        "measured_on": f"meta-{stream}",
        "groups": list(dataset.groups),
        "matrix": matrix,
        "forgotten": [last - row[group] for group, (last, row) in enumerate(zip(matrix[-1], matrix, strict=False))],
    }


def write_result(folder: Path, content: dict[str, Any]) -> None:
    write_json(folder / RESULT, content)


def write_episodes(
    file: Path, episodes: EvaluationResult, tasks: Sequence[str] = (), classes: Sequence[str] = ()
) -> None:
    """``episodes.csv``, or that of a further data set: a row for each meta-test episode.

    Every metric is there before and after adaptation.

    ``task`` is the number of its task, which comes again where there are finitely many, and ``task_name`` its name in
    ``tasks``. Where episodes draw classes, ``classes`` holds their numbers, parted by spaces, and the task's name is
    that of the ``classes``, by label.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    names = list(episodes.curves)
    drawn = episodes.classes.tolist()
    columns = ["episode", "task", "task_name", *(["classes"] if episodes.classes.numel() else [])]
    baselines = {f"baseline_{name}": values.tolist() for name, values in episodes.baselines.items()}
    writer.writerow([*columns, *names, *(f"{name}_before" for name in names), *baselines])
    for number, task in enumerate(episodes.tasks):
        name = tasks[task] if tasks else ""
        row: list[object] = [number, task, name]
        if episodes.classes.numel():
            row = [
                number,
                task,
                ", ".join(classes[c] for c in drawn[number]) if classes else "",
                _spaced(drawn[number]),
            ]
        after = [episodes.curves[name][number, -1].item() for name in names]
        before = [episodes.curves[name][number, 0].item() for name in names]
        writer.writerow([*row, *after, *before, *(values[number] for values in baselines.values())])
    write_text(file, text.getvalue())


def _spaced(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers))


def write_embeddings(folder: Path, seen: TaskEmbeddings, values: Tensor, metric: str) -> None:
    """``embeddings.csv``: a row for each meta-test task: what the dataset says of it, its metric, e_t."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["episode", *seen.facts, metric, *(f"e{place}" for place in range(seen.embeddings.shape[1]))])
    for number, (value, embedding) in enumerate(zip(values.tolist(), seen.embeddings.tolist(), strict=True)):
        writer.writerow([number, *(fact[number] for fact in seen.facts.values()), value, *embedding])
    write_text(folder / EMBEDDINGS, text.getvalue())
