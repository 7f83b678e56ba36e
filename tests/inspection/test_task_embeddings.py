"""Task embeddings before adaptation."""

from builders import HYPERNET, MLP, Blobs, build, padded
from torch.func import vmap

from metarun.core.tasks import TaskBatch
from metarun.inspection.task_embeddings import task_embeddings


class Padded(Blobs):
    """With two padding rows in the support set."""

    def sample(self, stream: str, index: int, tasks: int, group: int | None = None) -> TaskBatch:
        drawn = super().sample(stream, index, tasks, group)
        return drawn._replace(support=vmap(lambda support: padded(support, 2))(drawn.support))


def test_mask_of_padded_support_sets() -> None:
    for dataset, rows in ((Blobs(), 6), (Padded(), 8)):
        learner, phi = build(dataset, *MLP, *HYPERNET, "embedding.pooling=attention")
        seen = task_embeddings(learner, phi, dataset, "test", 5, chunk=2)
        assert seen.labels.shape == (5, rows)
        assert seen.attention is not None
        assert seen.attention.shape[::2] == (5, rows)
        if rows == 6:
            assert seen.mask is None
        else:
            assert seen.mask is not None
            assert seen.mask.tolist() == [[1, 1, 1, 1, 1, 1, 0, 0]] * 5
