"""TensorBoard's event files of a run. Steps are meta-updates everywhere; all is in the run itself, none in sub-runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from metarun.tracking import session

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENDING = ".ending"
"""How the name of the file ends that says how the run ended. A page shows the first record of that kind that it finds,
so that a resumed run must be able to take it away."""


class Board:
    """The event files in a run's folder. After a resume, what was written beyond ``step`` is hidden.

    row: the run's row on the HParams page, ``None``: it gets none.
    """

    def __init__(self, folder: Path, step: int, row: Mapping[str, str | float] | None) -> None:
        self._folder, self._row = folder, row
        for file in folder.glob(f"events.out.tfevents.*{ENDING}"):
            file.unlink()
        self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)
        if row is not None:
            _add(self._writer, session.beginning(row))

    def scalars(self, stage: str, values: Mapping[str, float], step: int) -> None:
        """``stage`` is what comes before the slash of a tag; a name may bring its own (omega/l2)."""
        for name, value in values.items():
            self._writer.add_scalar(name if "/" in name else f"{stage}/{name}", value, step)

    def figure(self, tag: str, figure: "Figure", step: int) -> None:
        self._writer.add_figure(tag, figure, step)

    def histogram(self, tag: str, values: Tensor, step: int) -> None:
        self._writer.add_histogram(tag, values, step)

    def embeddings(self, points: Tensor, facts: Mapping[str, Sequence[str]], step: int) -> None:
        """Points ``[n, size]`` for the projector; ``facts``: what to tell of each, by name."""
        rows = [list(row) for row in zip(*facts.values(), strict=True)]
        self._writer.add_embedding(points, rows, tag="task embeddings", global_step=step, metadata_header=list(facts))

    def layout(self, charts: Mapping[str, Mapping[str, list[Any]]]) -> None:
        """Charts of the custom scalars page, as `SummaryWriter.add_custom_scalars` takes them."""
        self._writer.add_custom_scalars(charts)

    def text(self, tag: str, text: str) -> None:
        """``text`` is Markdown."""
        self._writer.add_text(tag, text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        if self._row is not None:
            with SummaryWriter(str(self._folder), filename_suffix=ENDING) as last:
                _add(last, session.ending(error))


def _add(writer: SummaryWriter, record: Summary) -> None:
    """`SummaryWriter` has no method of its own for these."""
    writer.file_writer.add_summary(record)  # type: ignore[attr-defined]
