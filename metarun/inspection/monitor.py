"""Callbacks that write figures and statistics of a run to TensorBoard. They do not change φ."""

from torch import Tensor

from metarun.algorithms.base import Learned
from metarun.datasets.base import Dataset, class_names
from metarun.engine.evaluation import EPISODES_AT_ONCE, EvaluationResult
from metarun.engine.settings import EngineSettings
from metarun.inspection import figures
from metarun.inspection.attention import attended
from metarun.inspection.confusion import MOST, confusion
from metarun.inspection.examples import examples, shows_images
from metarun.inspection.fits import draws_functions, fits
from metarun.inspection.step_sizes import step_sizes
from metarun.inspection.task_embeddings import TaskEmbeddings, task_embeddings
from metarun.inspection.task_gradients import TaskGradients, task_gradients
from metarun.learner.learner import Learner, MetaParameters
from metarun.runs import layout
from metarun.runs.board import Board
from metarun.runs.settings import TrackingSettings
from metarun.runs.time_budget import TimeBudget

MAX_VALIDATIONS = 10
"""Validations with figures, at most: as many images of a tag as TensorBoard shows by default."""
MAX_PROJECTED = 32
"""Points in time that the projection of gradients shows; beyond, every other one is dropped."""


def evenly(number: int, total: int, most: int) -> bool:
    """Whether ``number`` (from 1) is one of ``most`` evenly spaced items of ``total``, which include the last one."""
    return number * most // total > (number - 1) * most // total


class Monitor:
    """Callbacks of a run, which write figures and statistics of the learner to the board as the settings say.

    Nothing here raises: what cannot be computed or drawn is skipped (`Board`).

    at_once: tasks computed at once.
    """

    def __init__(
        self,
        settings: TrackingSettings,
        engine: EngineSettings,
        board: Board,
        learner: Learner,
        dataset: Dataset,
        at_once: int,
    ) -> None:
        self._settings, self._engine = settings, engine
        self._board, self._dataset = board, dataset
        self.learner = learner
        """The meta-test may replace it, with another number of inner steps."""
        self._at_once, self._laid_out, self._budget = at_once, False, TimeBudget(settings.time_share)
        self._sketches: list[tuple[int, Tensor]] = []
        self._has_outer_loop = isinstance(learner.algorithm, Learned)

    def on_validation(self, phi: MetaParameters, step: int, episodes: EvaluationResult) -> None:
        """After a validation at meta-update ``step``."""
        settings = self._settings
        if settings.layout:
            with self._board.attempt("bounds of meta-val's interval, and their layout"):
                self._board.scalars(layout.BOUNDS, layout.bounds(episodes), step)
                if not self._laid_out:
                    self._write_layout(phi, episodes)
        if settings.embeddings and self.learner.hypernet.generated:
            with self._board.attempt("norms of what the hypernetwork makes"):
                count = min(episodes.count, EPISODES_AT_ONCE)
                self._write_generated_norms(
                    task_embeddings(self.learner, phi, self._dataset, "val", count, self._at_once), step
                )

    def on_update(self, phi: MetaParameters, step: int) -> None:
        """After meta-update ``step``, and its validation if there was one."""
        pictures = self._due(step, self._settings.pictures_every)
        gradients = self._has_outer_loop and self._due(step, self._settings.gradients_every)
        if not (pictures or gradients):
            return
        if self._settings.examples or self._settings.fits or self._settings.similarity:
            figures.preload()
        with self._budget.spend():
            if pictures:
                self._write_figures(phi, step)
            if gradients:
                self._write_gradients(phi, step)

    def on_meta_test(
        self, phi: MetaParameters, step: int, episodes: EvaluationResult, seen: TaskEmbeddings | None, mode: str
    ) -> None:
        """After the meta-test of the φ of meta-update ``step``.

        seen: the tasks' embeddings, if they have any. mode: transductive or inductive.
        """
        settings, board, stream = self._settings, self._board, "test"
        learner, dataset, metric = self.learner, self._dataset, self.learner.problem.kind.metric
        if settings.adaptation:
            board.figure(
                f"meta-test/adaptation of {metric}", lambda: figures.adaptation_figure(episodes, metric, mode), step
            )
        if settings.embeddings and seen is not None:
            self._write_embeddings(seen, episodes.final(metric), metric, step)
        if settings.attention:
            if seen is not None and seen.attention is not None:
                board.figure("meta-test/attention over support", lambda: figures.attention_figure(seen), step)
            if learner.algorithm.attends:
                board.figure(
                    "meta-test/attention of queries",
                    lambda: figures.queries_figure(attended(learner, phi, dataset, stream)),
                    step,
                )
        self._write_tasks(phi, step, stream)
        if settings.confusion:
            with board.attempt("meta-test/confusion"):
                mistakes = confusion(episodes, class_names(dataset, stream), MOST)
                if mistakes is not None:
                    board.figure(
                        "meta-test/confusion", lambda: figures.confusion_figure(mistakes, episodes.count), step
                    )

    def _due(self, step: int, every: int | None) -> bool:
        engine = self._engine
        if every is not None:
            return step % every == 0
        if step == engine.steps:
            return True
        number, odd = divmod(step, engine.val_every)
        return (
            not odd
            and evenly(number, -(-engine.steps // engine.val_every), MAX_VALIDATIONS)
            and self._budget.available()
        )

    def _write_layout(self, phi: MetaParameters, episodes: EvaluationResult) -> None:
        settings = self._settings
        sizes = settings.step_sizes and bool(step_sizes(self.learner, phi))
        metrics = episodes.curves
        self._board.layout(
            layout.charts(metrics, gradients=settings.gradients and self._has_outer_loop, step_sizes=sizes)
        )
        self._laid_out = True

    def _write_figures(self, phi: MetaParameters, step: int) -> None:
        """Pictures of meta-val tasks, and the learned step sizes."""
        self._write_tasks(phi, step, "val")
        if self._settings.step_sizes:
            with self._board.attempt("learned step sizes"):
                for layer, values in step_sizes(self.learner, phi).items():
                    self._board.scalars(layout.STEP_SIZE, {layer: values.mean().item()}, step)
                    self._board.histogram(f"step-sizes/{layer}", values, step)

    def _write_tasks(self, phi: MetaParameters, step: int, stream: str) -> None:
        """The first tasks of a stream: images with what they are taken for, or functions."""
        settings, learner = self._settings, self.learner
        of, stage = (learner, phi, self._dataset, stream, settings.tasks, self._at_once), f"meta-{stream}"
        if settings.examples and shows_images(learner):
            self._board.figure(f"{stage}/examples", lambda: figures.examples_figure(examples(*of), stage), step)
        if settings.fits and draws_functions(learner):
            self._board.figure(f"{stage}/fits", lambda: figures.fits_figure(fits(*of), stage), step)

    def _write_gradients(self, phi: MetaParameters, step: int) -> None:
        """The gradients of some meta-training tasks."""
        settings, board = self._settings, self._board
        if not (settings.gradients or settings.similarity):
            return
        with board.attempt("gradients of single tasks"):
            progress = step / self._engine.steps
            count = settings.gradient_tasks
            found = task_gradients(self.learner, phi, self._dataset, count, progress, self._at_once)
            self._write_task_gradients(found, step)

    def _write_task_gradients(self, found: TaskGradients, step: int) -> None:
        settings, board = self._settings, self._board
        if settings.gradients:
            for group, norms in (
                (layout.OUTER, found.outer),
                (layout.BEFORE, found.before),
                (layout.AFTER, found.after),
            ):
                # TensorBoard would group a name with a slash, such as that of a hypernetwork's head, separately.
                board.scalars(group, {name.replace("/", "."): norm for name, norm in norms.items()}, step)
        if settings.similarity:
            self._sketches.append((step, found.sketches))
            if len(self._sketches) > MAX_PROJECTED:
                self._sketches = self._sketches[::2]
            board.figure("meta-gradients/cosines", lambda: figures.cosine_figure(found.cosines, step), step)
            steps, sketches = zip(*self._sketches, strict=True)
            board.figure("meta-gradients/projection", lambda: figures.projection_figure(sketches, steps), step)

    def _write_embeddings(self, seen: TaskEmbeddings, values: Tensor, metric: str, step: int) -> None:
        """Task embeddings of meta-test with the metric of each task, ``[T]``."""
        with self._board.attempt("norms of what the hypernetwork makes"):
            self._write_generated_norms(seen, step)
        facts = {
            "task": [str(number) for number in range(len(values))],
            **seen.facts,
            metric: [f"{value:.4g}" for value in values.tolist()],
        }
        self._board.embeddings(seen.embeddings, facts, step)
        self._board.figure("meta-test/task embeddings", lambda: figures.embedding_figure(seen, values, metric), step)

    def _write_generated_norms(self, seen: TaskEmbeddings, step: int) -> None:
        """The norms of generated tensors, mean over tasks."""
        norms = {f"norm of {name}": values.mean().item() for name, values in seen.norms.items()}
        self._board.scalars("generated", norms, step)
