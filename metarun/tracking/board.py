"""TensorBoard: what a run writes there, and under which tags. Steps are meta-updates everywhere."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.utils.tensorboard import SummaryWriter

from metarun.engine.evaluation import Episodes
from metarun.tracking.figures import adaptation_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Board:
    """One run's event files, in its folder. After a resume, what was written beyond ``step`` is hidden."""

    def __init__(self, folder: Path, step: int) -> None:
        self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def scalars(self, stage: str, values: dict[str, float], step: int) -> None:
        """``stage``: meta-train, meta-val, meta-test or outer-loop."""
        for name, value in values.items():
            self._writer.add_scalar(f"{stage}/{name}", value, step)

    def adaptation(self, episodes: Episodes, metric: str, mode: str, step: int) -> None:
        """The adaptation curve at meta-test as a figure, with its 95 % interval."""
        figure: Figure = adaptation_figure(episodes, metric, mode)
        self._writer.add_figure(f"meta-test/adaptation of {metric}", figure, step)

    def text(self, name: str, text: str) -> None:
        self._writer.add_text(name, text)

    def close(self) -> None:
        self._writer.close()

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()
