"""TensorBoard: what a run writes there, and under which tags. Steps are meta-updates everywhere."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from metarun.engine.attention import Attended
from metarun.engine.evaluation import Episodes
from metarun.engine.insight import Insight
from metarun.tracking.figures import (
    adaptation_figure,
    attention_figure,
    embedding_figure,
    forgetting_figure,
    queries_figure,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Board:
    """One run's event files, in its folder. After a resume, what was written beyond ``step`` is hidden."""

    def __init__(self, folder: Path, step: int) -> None:
        self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def scalars(self, stage: str, values: dict[str, float], step: int) -> None:
        """``stage``: meta-train, meta-val, meta-test, outer-loop or generated; a name may bring its own (omega/l2)."""
        for name, value in values.items():
            self._writer.add_scalar(name if "/" in name else f"{stage}/{name}", value, step)

    def adaptation(self, episodes: Episodes, metric: str, mode: str, step: int) -> None:
        """The adaptation curve at meta-test as a figure, with its 95 % interval."""
        figure: Figure = adaptation_figure(episodes, metric, mode)
        self._writer.add_figure(f"meta-test/adaptation of {metric}", figure, step)

    def insight(self, seen: Insight, values: Tensor, metric: str, step: int) -> None:
        """Embeddings of meta-test tasks, for the projector and as a figure, and how support examples weigh in them.

        values: the metric of each task, ``[T]``.
        """
        self.generated(seen, step)
        header = ["task", *seen.facts, metric]
        columns = [[str(number) for number in range(len(values))], *seen.facts.values()]
        columns.append([f"{value:.4g}" for value in values.tolist()])
        rows = [list(row) for row in zip(*columns, strict=True)]
        self._writer.add_embedding(
            seen.embeddings, rows, tag="task embeddings", global_step=step, metadata_header=header
        )
        self._writer.add_figure("meta-test/task embeddings", embedding_figure(seen, values, metric), step)
        if seen.attention is not None:
            self._writer.add_figure("meta-test/attention over support", attention_figure(seen), step)

    def attention(self, seen: Sequence[Attended], step: int) -> None:
        """How support examples weigh in the predictions of a few meta-test tasks, as a figure."""
        self._writer.add_figure("meta-test/attention of queries", queries_figure(seen), step)

    def generated(self, seen: Insight, step: int) -> None:
        """The norms of generated tensors, mean over tasks."""
        self.scalars("generated", {f"norm of {name}": float(norms.mean()) for name, norms in seen.norms.items()}, step)

    def forgetting(self, groups: Sequence[str], matrix: Sequence[Sequence[float]], metric: str, step: int) -> None:
        """The forgetting matrix so far."""
        self._writer.add_figure(f"forgetting/{metric}", forgetting_figure(groups, matrix, metric), step)

    def text(self, name: str, text: str) -> None:
        self._writer.add_text(name, text)

    def close(self) -> None:
        self._writer.close()

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()
