"""What is seen of tasks before they are adapted to."""

from builders import HYPERNET, MLP, Blobs, build, padded
from torch.func import vmap

from metarun.core.tasks import TaskBatch
from metarun.inspection.insight import insight


class Padded(Blobs):
    """With two rows behind the support examples that fill up."""

    def sample(self, stream: str, index: int, tasks: int, group: int | None = None) -> TaskBatch:
        drawn = super().sample(stream, index, tasks, group)
        return drawn._replace(support=vmap(lambda support: padded(support, 2))(drawn.support))


def test_it_tells_which_rows_of_a_support_set_are_examples() -> None:
    for dataset, rows in ((Blobs(), 6), (Padded(), 8)):
        learner, phi = build(dataset, *MLP, *HYPERNET, "embedding.pooling=attention")
        seen = insight(learner, phi, dataset, "test", 5, chunk=2)
        assert seen.labels.shape == (5, rows)
        assert seen.attention is not None
        assert seen.attention.shape[::2] == (5, rows)
        if rows == 6:
            assert seen.mask is None
        else:
            assert seen.mask is not None
            assert seen.mask.tolist() == [[1, 1, 1, 1, 1, 1, 0, 0]] * 5
