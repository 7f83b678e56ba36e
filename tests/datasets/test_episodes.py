"""Episodes: pure, disjoint, shuffled, and refused where a split cannot fill them."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from labeled_images import labeled_bank, labeled_episodes, said

from metarun.core.errors import UserError
from metarun.core.tasks import Task
from metarun.datasets.base import STREAMS, EpisodeShape, Seeds
from metarun.datasets.episodes import EpisodicDataset

SHAPE = EpisodeShape(3, 2, 4, None, None, None)


def flat(task: Task) -> list[torch.Tensor]:
    return [*task.support, *task.query, task.number]


@given(st.integers(0, 2**40), st.sampled_from(STREAMS), st.integers(0, 2**30))
def test_a_task_depends_on_seed_stream_and_number_alone(seed: int, stream: str, index: int) -> None:
    four = labeled_episodes(SHAPE, seed).sample(stream, index, 4)
    other = labeled_episodes(SHAPE, seed)
    other.sample("train", 5, 3)
    for row in range(4):
        one = other.sample(stream, 4 * index + row, 1)
        assert all(torch.equal(many[row], single[0]) for many, single in zip(flat(four), flat(one), strict=True))


@given(st.integers(2, 6), st.integers(1, 4), st.integers(1, 5), st.integers(0, 1000), st.sampled_from(STREAMS))
def test_support_and_query_share_classes_and_no_item(
    ways: int, shots: int, queries: int, index: int, stream: str
) -> None:
    batch = labeled_episodes(EpisodeShape(ways, shots, queries, None, None, None)).sample(stream, index, 5)
    assert batch.support.x.shape == (5, ways * shots, 1, 2, 2)
    assert batch.query.x.shape == (5, ways * queries, 1, 2, 2)
    for task in range(5):
        support, query = said(batch.support.x[task]), said(batch.query.x[task])
        items = [tuple(row) for row in torch.cat([support, query]).tolist()]
        assert len(set(items)) == ways * (shots + queries)
        class_of = dict(zip(batch.support.y[task].tolist(), support[:, 1].tolist(), strict=True))
        assert sorted(class_of) == list(range(ways))
        assert len(set(class_of.values())) == ways
        assert [class_of[label] for label in batch.support.y[task].tolist()] == support[:, 1].tolist()
        assert [class_of[label] for label in batch.query.y[task].tolist()] == query[:, 1].tolist()
    assert batch.support.y.dtype == torch.int64


def test_streams_draw_from_their_own_split() -> None:
    episodes = labeled_episodes(SHAPE)
    for stream, split in {"train": 0, "train_eval": 0, "val": 1, "test": 2}.items():
        batch = episodes.sample(stream, 0, 50)
        assert set(said(batch.support.x)[..., 0].flatten().tolist()) == {split}
        assert set(said(batch.query.x)[..., 0].flatten().tolist()) == {split}


def test_a_class_in_two_splits_is_refused() -> None:
    banks = {name: labeled_bank(split, [9] * 5) for split, name in enumerate(("train", "val", "test"))}
    leaking = banks["test"].select([0, 1, 2, 3])
    leaking = dataclasses.replace(leaking, names=(*leaking.names[:3], banks["train"].names[4]))
    settings = {"seeds": Seeds(0, 0), "device": torch.device("cpu"), "dtype": torch.float32}
    words = {"noun": "classes", "remark": "", "facts": {}}
    EpisodicDataset("fine", banks, SHAPE, **settings, **words)
    with pytest.raises(ValueError, match="class '0-4' is in meta-train and in meta-test"):
        EpisodicDataset("leaking", {**banks, "test": leaking}, SHAPE, **settings, **words)


def test_the_label_of_a_class_varies() -> None:
    batch = labeled_episodes(SHAPE).sample("train", 0, 200)
    classes = said(batch.support.x)[..., 1]
    labels = set(zip(classes.flatten().tolist(), batch.support.y.flatten().tolist(), strict=True))
    assert labels == {(number, label) for number in range(8) for label in range(3)}


def test_episodes_do_not_repeat() -> None:
    batch = labeled_episodes(SHAPE).sample("train", 0, 300)
    assert len({tuple(said(x)[:, 1:].flatten().tolist()) for x in batch.support.x}) > 290
    # The first image that an episode takes of a class is any of its images.
    first = said(batch.support.x)[:, :3, 1:].flatten(0, 1)
    assert set(first[first[:, 0] == 0][:, 1].tolist()) == set(range(9))


def test_classes_and_items_are_taken_equally_often() -> None:
    episodes = labeled_episodes(SHAPE)
    classes, items = episodes.choices("test", torch.arange(7000))
    expected = 7000 * 3 / 7
    assert float(((torch.bincount(classes.flatten()) - expected).abs() / expected).max()) < 0.07
    largest, count = int(episodes.bank("test").count.argmax()), int(episodes.bank("test").count.max())
    taken = torch.bincount(items[classes == largest].flatten(), minlength=count)
    expected = 3000 * 6 / count
    assert float(((taken - expected).abs() / expected).max()) < 0.12


def test_episodes_of_a_seed_are_unchanged() -> None:
    # From the first release: results name a seed, and its tasks must not change under them.
    classes, items = labeled_episodes(SHAPE).choices("train", torch.arange(3))
    assert classes.tolist() == [[0, 6, 3], [6, 4, 3], [2, 3, 0]]
    assert items[0].tolist() == [[7, 4, 3, 8, 5, 1], [4, 5, 7, 10, 3, 8], [2, 3, 8, 0, 4, 7]]


def test_streams_share_no_random_numbers() -> None:
    episodes = labeled_episodes(SHAPE)
    same_split = [episodes.choices(stream, torch.arange(100))[0] for stream in ("train", "train_eval")]
    assert int((same_split[0] == same_split[1]).all(1).sum()) < 5
    assert not torch.equal(same_split[0], labeled_episodes(SHAPE, seed=1).choices("train", torch.arange(100))[0])


def test_training_episodes_may_have_another_shape() -> None:
    episodes = labeled_episodes(EpisodeShape(3, 2, 4, 5, 1, 2))
    assert episodes.sample("train", 0, 2).support.x.shape == (2, 5, 1, 2, 2)
    assert episodes.sample("train_eval", 0, 2).support.x.shape == (2, 6, 1, 2, 2)
    assert (episodes.kind("train").ways, episodes.kind("train_eval").ways, episodes.kind("test").ways) == (5, 3, 3)
    assert episodes.protocol() == {
        **{"dataset": "speaking", "ways": 3, "shots": 2, "queries": 4},
        **{"train_ways": 5, "train_shots": 1, "train_queries": 2},
        **{"classes": {"train": 8, "val": 6, "test": 7}, "split": "made up"},
    }
    assert episodes.summary() == (
        "speaking · 3-way 2-shot · 4 queries (trained 5-way 1-shot · 2 queries)"
        "      8 meta-train / 6 meta-val / 7 meta-test classes, made up"
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_images_are_floats_from_0_to_1(dtype: torch.dtype) -> None:
    batch = labeled_episodes(SHAPE, dtype=dtype).sample("train", 0, 4)
    assert batch.support.x.dtype == batch.query.x.dtype == dtype
    assert float(batch.support.x.max()) == 1
    assert float(batch.support.x.min()) == 0


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((7, 1, 1, None, None, None), r"dataset.ways=7: meta-val has 6 classes; choose 2 to 6"),
        ((3, 1, 1, 9, None, None), r"dataset.train_ways=9: meta-train has 8 classes; choose 2 to 8"),
        (
            (3, 5, 6, None, None, None),
            r"dataset.shots=5 and dataset.queries=6 need 11 images of a class, but class '0-0' of meta-train has 9; "
            r"choose shots \+ queries up to 9",
        ),
        ((3, 1, 1, None, 10, None), r"dataset.train_shots=10 and dataset.queries=1 need 11 images .* '0-0' .* up to 9"),
    ],
)
def test_invalid_episode_sizes_are_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        labeled_episodes(EpisodeShape(*shape))
    assert "\n" not in str(refusal.value)


def test_there_is_no_end_of_episodes() -> None:
    assert [labeled_episodes(SHAPE).distinct(stream) for stream in STREAMS] == [None] * len(STREAMS)


def test_an_unknown_stream_is_refused() -> None:
    with pytest.raises(ValueError, match="no stream 'meta-test'"):
        labeled_episodes(SHAPE).sample("meta-test", 0, 1)


def halves(shape: EpisodeShape) -> EpisodicDataset:
    """Meta-train classes in groups of three ("low"), three ("mid") and two ("high")."""
    banks = {name: labeled_bank(split, [9] * 8) for split, name in enumerate(("train", "val", "test"))}
    return EpisodicDataset(
        *("grouped", banks, shape),
        **{"seeds": Seeds(0, 0), "device": torch.device("cpu"), "dtype": torch.float64},
        **{"noun": "classes", "remark": "", "facts": {}},
        group_of=lambda name: ("low", "mid", "high")[int(name[-1]) // 3],
    )


@pytest.mark.parametrize("stream", ["train", "train_eval"])
def test_a_group_s_tasks_hold_its_classes_alone(stream: str) -> None:
    episodes = halves(EpisodeShape(2, 2, 4, None, None, None))
    assert episodes.groups == ("low", "mid", "high")
    for group, classes in enumerate(({0, 1, 2}, {3, 4, 5}, {6, 7})):
        batch = episodes.sample(stream, 0, 40, group)
        assert set(said(batch.support.x)[..., 1].flatten().tolist()) == classes
        assert set(said(batch.query.x)[..., 1].flatten().tolist()) == classes
        one = episodes.sample(stream, 7, 1, group)
        assert all(torch.equal(many[7], single[0]) for many, single in zip(flat(batch), flat(one), strict=True))
    ungrouped = labeled_episodes(EpisodeShape(2, 2, 4, None, None, None))
    assert set(said(episodes.sample(stream, 0, 40).support.x)[..., 1].flatten().tolist()) == set(range(8))
    assert ungrouped.groups == ()
    with pytest.raises(ValueError, match="no group 0; speaking has 0"):
        ungrouped.sample(stream, 0, 1, 0)


def test_groups_too_small_for_an_episode_are_left_out() -> None:
    assert halves(EpisodeShape(3, 1, 1, None, None, None)).groups == ("low", "mid")
    assert halves(EpisodeShape(2, 1, 1, 3, None, None)).groups == ("low", "mid")
    assert halves(EpisodeShape(4, 1, 1, 2, None, None)).groups == ()
    batch = halves(EpisodeShape(3, 1, 1, None, None, None)).sample("train", 0, 9, 1)
    assert set(said(batch.support.x)[..., 1].flatten().tolist()) == {3, 4, 5}


@pytest.mark.parametrize("stream", ["val", "test"])
def test_classes_of_other_splits_have_no_groups(stream: str) -> None:
    episodes = halves(EpisodeShape(2, 1, 1, None, None, None))
    assert not episodes.grouped_test
    with pytest.raises(ValueError, match=f"groups are of meta-train classes; stream '{stream}' has none"):
        episodes.sample(stream, 0, 1, 0)


def test_facts_name_the_classes_in_the_order_of_labels() -> None:
    episodes = halves(EpisodeShape(2, 1, 1, None, None, None))
    for stream, split, group in (("test", 2, None), ("train", 0, None), ("train_eval", 0, 1)):
        batch = episodes.sample(stream, 1, 3, group)
        names = episodes.facts(stream, batch, group)["classes"]
        assert names == [", ".join(f"{split}-{number}" for number in said(x)[:, 1].tolist()) for x in batch.support.x]
        assert batch.identity.tolist() == [-1] * 3
        assert batch.descriptor.shape == (3, 0)
