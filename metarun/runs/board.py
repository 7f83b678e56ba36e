"""TensorBoard's event files of a run. Steps are meta-updates everywhere; there are no sub-runs."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from metarun.runs import hparams
from metarun.runs.best_effort import BestEffort

if TYPE_CHECKING:
    from matplotlib.figure import Figure

END_SUFFIX = ".ending"
"""Suffix of the event file with the end of the session. The page shows the first such record, so a resumed run deletes
this file."""


class Board:
    """The event files in a run's folder. After a resume, events after ``step`` are hidden.

    Nothing here raises: what cannot be drawn or written is skipped, with one line in the log.

    row: the run's row on the HParams page; ``None``: no row.
    """

    def __init__(self, folder: Path, step: int, row: Mapping[str, str | float] | None) -> None:
        self._folder, self._row, self._attempts = folder, row, BestEffort()
        self._writer: SummaryWriter | None = None
        with self.attempt("TensorBoard's events"):
            for file in folder.glob(f"events.out.tfevents.*{END_SUFFIX}"):
                file.unlink()
            self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)
        if row is not None:
            self._write("hyperparameters", lambda writer: _add(writer, hparams.session_start(row)))

    def attempt(self, what: str) -> AbstractContextManager[None]:
        """Context in which an error only skips ``what`` (`BestEffort`)."""
        return self._attempts.attempt(what)

    def scalars(self, stage: str, values: Mapping[str, float], step: int) -> None:
        """Tags are ``stage/name``; a name with a slash (omega/l2) is a tag by itself."""

        def add(writer: SummaryWriter) -> None:
            for name, value in values.items():
                writer.add_scalar(name if "/" in name else f"{stage}/{name}", value, step)

        self._write(f"curves of {stage}", add)

    def figure(self, tag: str, make: "Callable[[], Figure]", step: int) -> None:
        """``make`` computes and draws the figure, in which texts that come from data appear as they are."""
        from metarun.runs.texts import plain_texts  # here, because matplotlib takes a second to import

        def add(writer: SummaryWriter) -> None:
            with plain_texts():
                writer.add_figure(tag, make(), step)

        self._write(tag, add)

    def histogram(self, tag: str, values: Tensor, step: int) -> None:
        self._write(tag, lambda writer: writer.add_histogram(tag, values, step))

    def embeddings(self, points: Tensor, facts: Mapping[str, Sequence[str]], step: int) -> None:
        """Points ``[n, size]`` for the projector; ``facts``: metadata columns, by name."""

        def add(writer: SummaryWriter) -> None:
            rows = [[_cell(value) for value in row] for row in zip(*facts.values(), strict=True)]
            header = [_cell(name) for name in facts]
            writer.add_embedding(points, rows, tag="task embeddings", global_step=step, metadata_header=header)

        self._write("task embeddings in the projector", add)

    def layout(self, charts: Mapping[str, Mapping[str, list[Any]]]) -> None:
        """Charts of the custom scalars page, as `SummaryWriter.add_custom_scalars` takes them."""
        self._write("layout of the custom scalars", lambda writer: writer.add_custom_scalars(charts))

    def text(self, tag: str, make: Callable[[], str]) -> None:
        """``make`` returns Markdown."""
        self._write(f"text {tag}", lambda writer: writer.add_text(tag, make()))

    def _write(self, what: str, add: Callable[[SummaryWriter], object]) -> None:
        if self._writer is not None:
            with self.attempt(what):
                add(self._writer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write("last events", lambda writer: writer.close())
        if self._row is not None:
            with (
                self.attempt("how the run ended"),
                SummaryWriter(str(self._folder), filename_suffix=END_SUFFIX) as last,
            ):
                _add(last, hparams.session_end(error))


def _cell(text: str) -> str:
    """A text as a cell of the projector's table, which is tab-separated with one row per line."""
    return " ".join(text.split())


def _add(writer: SummaryWriter, record: Summary) -> None:
    """`SummaryWriter` has no public method for these."""
    writer.file_writer.add_summary(record)  # type: ignore[attr-defined]
