"""Choosing tasks to learn from: against brute force, and as a function of φ and the tasks' numbers alone."""

from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import pytest
import torch
from builders import CONV, HYPERNET, MLP, Blobs, build, moved, settings, task_of, waves
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as some
from torch import Tensor
from torch.utils._pytree import tree_map

from metarun.algorithms.outer_loop import TaskSelection
from metarun.core.kinds import Regression
from metarun.datasets.base import Dataset
from metarun.engine.meta_gradient import MetaGradient
from metarun.engine.selection import (
    SKETCH,
    Chosen,
    Selector,
    apart,
    belonging,
    drawn,
    k_center,
    k_medoids,
    ranks,
    ratio_of,
    represented,
    sketch,
    to_nearest,
)
from metarun.learner.learner import Learner, MetaParameters

POINTS = some.integers(3, 9).flatmap(
    lambda n: some.tuples(
        some.lists(some.tuples(*[some.integers(-5, 5)] * 2).map(list), min_size=n, max_size=n),
        some.integers(1, n),
    )
)
"""Points of a small grid, so that some are alike, and how many of them to choose."""


@dataclass(frozen=True)
class Shifted(Regression):
    """Regression by a loss that can be negative."""

    shift: float = 0.0

    def __init__(self, shift: float) -> None:
        super().__init__()
        object.__setattr__(self, "shift", shift)

    def loss(self, prediction: Tensor, y: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().loss(prediction, y, mask) + self.shift


def selection(select: str, pool: int = 4, temperature: float = 1.0) -> TaskSelection:
    return TaskSelection(select=select, pool=pool, temperature=temperature)


def least(distances: Tensor, count: int, worst: bool) -> float:
    """The least possible largest, or else sum, of distances to the nearest of ``count`` points."""
    fits = (to_nearest(distances, torch.tensor(each)) for each in combinations(range(len(distances)), count))
    return min(float(fit.max() if worst else fit.sum()) for fit in fits)


@given(POINTS)
@limits(deadline=None)
def test_k_center_is_no_worse_than_twice_the_best(drawn_: tuple[list[list[int]], int]) -> None:
    points, count = drawn_
    distances = apart(torch.tensor(points))
    chosen = k_center(distances, count)
    assert len(set(chosen.tolist())) == count
    assert to_nearest(distances, chosen).max() <= 2 * least(distances, count, worst=True) + 1e-9


def test_k_center_takes_the_medoid_and_then_the_farthest() -> None:
    points = torch.tensor([[0.0], [1.0], [2.0], [9.0], [-5.0]])
    assert k_center(apart(points), 3).tolist() == [1, 3, 4]


@given(POINTS)
@limits(deadline=None)
def test_k_medoids_can_be_bettered_by_no_medoid_of_a_cluster(drawn_: tuple[list[list[int]], int]) -> None:
    points, count = drawn_
    distances = apart(torch.tensor(points))
    chosen = k_medoids(distances, count)
    assert len(set(chosen.tolist())) == count
    cost = to_nearest(distances, chosen).sum()
    if count == 1:
        assert cost == pytest.approx(least(distances, count, worst=False))
    belongs = belonging(distances, chosen)
    for place in range(count):
        members = (belongs == place).nonzero().flatten()
        if len(members):
            within = distances[members][:, members].sum(0)
            assert distances[members, chosen[place]].sum() <= within.min() + 1e-9


@pytest.mark.parametrize("seed", range(5))
def test_both_find_well_separated_clusters(seed: int) -> None:
    """Where k-medoids, by turns alone, could stop at two points in one cluster."""
    generator = torch.Generator().manual_seed(seed)
    centers = torch.tensor([[0.0, 0.0], [40.0, 0.0], [0.0, 40.0], [40.0, 40.0]])
    sizes = [1, 2, 3, 4]
    points = torch.cat([c + torch.randn(n, 2, generator=generator) for c, n in zip(centers, sizes, strict=True)])
    points, of = (
        points[order := torch.randperm(10, generator=generator)],
        torch.arange(4).repeat_interleave(torch.tensor(sizes)),
    )
    distances, of = apart(points), of[order]
    for choose in (k_center, k_medoids):
        chosen = choose(distances, 4)
        assert sorted(of[chosen].tolist()) == [0, 1, 2, 3]
        counts = represented(distances, chosen)
        assert [counts[place].item() for place in of[chosen].argsort()] == sizes
    assert to_nearest(distances, k_medoids(distances, 4)).sum() == pytest.approx(least(distances, 4, worst=False))


@pytest.mark.parametrize("choose", [k_center, k_medoids])
def test_equal_points_are_supported(choose: Any) -> None:
    distances = apart(torch.ones(6, 2))
    chosen = choose(distances, 4)
    assert len(set(chosen.tolist())) == 4
    counts = represented(distances, chosen)
    assert counts.min() >= 1, "each stands at least for itself"
    assert counts.sum() == 6


HARD = {
    "positive": [0.1, 5.0, 2.0, 1.0],
    "negative": [-9.0, -1.0, -2.0, -3.0],
    "mixed": [-2.0, 1e6, 0.5, 0.0],
}
"""Losses of ranks 1, 4, 3 and 2."""


@pytest.mark.parametrize("losses", HARD.values(), ids=HARD)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_hard_tasks_are_drawn_by_rank(losses: list[float], temperature: float) -> None:
    """Whatever the sign of the losses."""
    share = torch.tensor([1.0, 4.0, 3.0, 2.0]).double() ** (1 / temperature)
    share /= share.sum()
    first = torch.zeros(4)
    for visit in range(4000):
        chosen = drawn(torch.tensor(losses).double(), 4 * visit + torch.arange(4), temperature, 2)
        assert len(set(chosen.tolist())) == 2
        first[chosen[0]] += 1
    deviation = (share * (1 - share) / 4000).sqrt()
    assert ((first / 4000 - share).abs() <= 4 * deviation).all(), first


def test_hard_tasks_are_drawn_without_replacement_one_after_another() -> None:
    """P(a, then b) = p_a p_b / (1 − p_a)."""
    losses, counts = torch.tensor([-1.0, 2.0, 5.0], dtype=torch.float64), torch.zeros(3, 3)
    for visit in range(6000):
        one, other = drawn(losses, 3 * visit + torch.arange(3), 1.0, 2).tolist()
        counts[one, other] += 1
    p = torch.tensor([1.0, 2.0, 3.0]).double() / 6
    wanted = p[:, None] * p / (1 - p[:, None]) * (1 - torch.eye(3))
    deviation = (wanted * (1 - wanted) / 6000).sqrt()
    assert ((counts / 6000 - wanted).abs() <= 4 * deviation + 1e-12).all()


@given(some.lists(some.integers(-4, 4), min_size=1, max_size=9))
@limits(deadline=None)
def test_ranks_are_those_of_scipy(losses: list[int]) -> None:
    """Equal ones share the mean of theirs, also where rounding tells them apart."""
    from scipy.stats import rankdata

    exact = torch.tensor(losses).double()
    rounded = exact * (1 + 1e-14 * torch.randn(len(losses), generator=torch.Generator().manual_seed(0)).double())
    for told in (exact, rounded):
        assert ranks(told).tolist() == rankdata(losses).tolist()


def test_zero_and_non_finite_losses_are_supported() -> None:
    assert len(set(drawn(torch.zeros(5).double(), torch.arange(5), 1.0, 5).tolist())) == 5
    assert ranks(torch.tensor([torch.nan, 1.0, torch.inf, -torch.inf])).tolist() == [3.5, 2, 3.5, 1]
    assert ranks(torch.tensor([torch.inf, torch.nan])).tolist() == [1.5, 1.5]
    assert ratio_of(torch.tensor(0.0), torch.tensor(0.0)) == 1


def test_hard_tasks_are_preferred_with_negative_losses() -> None:
    """As a likelihood's are: the candidates' losses shifted far below 0 choose the same tasks."""

    def chosen(shift: float) -> tuple[Any, Any]:
        dataset, learner, phi = parts("regression")
        kind = Shifted(shift)
        posed = replace(learner.problem, kind=kind, training_kind=kind)
        shifted = replace(learner, problem=posed, model=replace(learner.model, kind=kind))
        found = [Selector(selection("loss"), shifted, dataset, 4, None)(phi, step, 0.5, None) for step in range(40)]
        ranks_told = torch.stack([each.metrics["tasks/loss_rank"] for each in found])
        return torch.cat([each.batch.number for each in found]), ranks_told.mean()

    (numbers, rank), (same, _) = chosen(-100.0), chosen(0.0)
    assert numbers.equal(same)
    assert rank > 0.58, "0.5: no preference"


def test_sketches_keep_distances() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(6, 10 * SKETCH + 7, generator=generator, dtype=torch.float64)
    # As gradients are: a few numbers are large, and many of those next to each other.
    vectors[:, 500:900] *= 30
    sketches = torch.stack([sketch(vector, 0) for vector in vectors])
    assert sketches.shape == (6, SKETCH)
    ratio = (apart(sketches) / apart(vectors))[~torch.eye(6, dtype=torch.bool)]
    assert ((ratio - 1).abs() < 0.1).all()
    torch.testing.assert_close(torch.func.vmap(sketch, in_dims=(0, None))(vectors, 0), sketches, rtol=0, atol=0)
    short = vectors[0, :SKETCH]
    assert sketch(short, 0) is short


PROBLEMS: dict[str, tuple[Dataset, tuple[str, ...]]] = {
    "classification": (Blobs(), CONV),
    "regression": (waves(), MLP),
    "embedding": (waves(), (*MLP, *HYPERNET)),
}


def parts(problem: str) -> tuple[Dataset, Learner, MetaParameters]:
    dataset, model = PROBLEMS[problem]
    learner, phi = build(dataset, "algorithm=maml", *model, inner_lr=0.05, inner_steps=2)
    return dataset, learner, moved(phi, 0.1)


def chosen_of(problem: str, select: str, step: int = 3, tasks: int = 4, chunk: int | None = None) -> Chosen:
    dataset, learner, phi = parts(problem)
    return Selector(selection(select), learner, dataset, tasks, chunk)(phi, step, 0.5, None)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("select", ["k_center", "k_medoids", "loss"])
def test_chosen_tasks_are_of_the_pool(problem: str, select: str) -> None:
    chosen = chosen_of(problem, select)
    dataset, *_ = parts(problem)
    numbers = chosen.batch.number.tolist()
    assert len(set(numbers)) == 4
    assert all(3 * 16 <= number < 4 * 16 for number in numbers)
    pool = dataset.sample("train", 3, 16)
    alike = tree_map(lambda tensor: tensor[torch.tensor(numbers) - 48], pool)
    torch.testing.assert_close(chosen.batch, alike, rtol=0, atol=0)
    if chosen.weights is not None:
        assert chosen.weights.mean().item() == pytest.approx(1, abs=1e-12)
        assert chosen.weights.min() >= 0.25
    else:
        assert select == "loss"
    (figure,) = chosen.metrics.values()
    assert figure.isfinite()


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("select", ["k_center", "k_medoids", "loss"])
def test_the_choice_is_a_function_of_phi_and_the_step(problem: str, select: str) -> None:
    """However many candidates are looked at at once."""
    one, again = (chosen_of(problem, select) for _ in range(2))
    torch.testing.assert_close((one.batch, one.weights), (again.batch, again.weights), rtol=0, atol=0)
    chunked = chosen_of(problem, select, chunk=3)
    assert chunked.batch.number.equal(one.batch.number)
    numbers = [chosen_of(problem, select, step).batch.number % 16 for step in range(6)]
    assert not all(each.equal(numbers[0]) for each in numbers), "not always the same places"


def test_without_selection_the_next_tasks_are_learned_from() -> None:
    dataset, learner, phi = parts("regression")
    chosen = Selector(selection("all"), learner, dataset, 4, None)(phi, 3, 0.0, None)
    torch.testing.assert_close(chosen.batch, dataset.sample("train", 3, 4), rtol=0, atol=0)
    assert (chosen.weights, chosen.metrics) == (None, {})


def test_a_pool_of_one_is_the_meta_batch() -> None:
    dataset, learner, phi = parts("regression")
    for select in ("k_center", "k_medoids", "loss"):
        chosen = Selector(selection(select, pool=1), learner, dataset, 4, None)(phi, 3, 0.0, None)
        torch.testing.assert_close(chosen.batch, dataset.sample("train", 3, 4), rtol=0, atol=0)
        assert chosen.weights is None or chosen.weights.tolist() == [1.0] * 4


def test_distance_of_tasks_is_that_of_gradients() -> None:
    """Without embeddings: by gradients of the loss on the support set, here with autograd."""
    dataset, learner, phi = parts("regression")
    pool = dataset.sample("train", 3, 16)
    pulls = []
    for number in range(16):
        support = task_of(pool, number).support
        theta = {name: tensor.clone().requires_grad_() for name, tensor in phi["theta"].items()}
        loss, _ = learner.model.support_loss(theta, {}, {}, support)
        pulls.append(torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(theta.values()))]))
    wanted = k_medoids(apart(torch.stack(pulls)), 4).sort().values + 48
    assert chosen_of("regression", "k_medoids").batch.number.tolist() == wanted.tolist()


def test_distance_of_tasks_with_embeddings_is_that_of_embeddings() -> None:
    dataset, learner, phi = parts("embedding")
    pool = dataset.sample("train", 3, 16)
    embeddings = torch.stack([learner.embed(phi, task_of(pool, number), testing=False) for number in range(16)])
    wanted = k_center(apart(embeddings), 4).sort().values + 48
    assert chosen_of("embedding", "k_center").batch.number.tolist() == wanted.tolist()


def test_repeated_tasks_are_selected_once_with_equal_weights() -> None:
    """Each of 4 tasks comes four times: the chosen four stand for the pool exactly."""
    config = settings("dataset=polynomials").dataset
    dataset = config.load(0, torch.device("cpu"), torch.float64)
    known = dataset.known_tasks
    learner, phi = build(
        dataset, "algorithm=maml", *MLP, "hypernet=full", "hypernet.hidden=[6]", "embedding=learned", inner_lr=0.01
    )
    phi = moved(phi)
    chosen = Selector(selection("k_medoids"), learner, dataset, known, None)(phi, 0, 0.0, None)
    assert sorted(chosen.batch.identity.tolist()) == list(range(known))
    assert chosen.weights is not None
    assert chosen.weights.tolist() == pytest.approx([1.0] * known)
    assert chosen.metrics["tasks/distance_ratio"] == 1, "the first ones are as good"


def test_weights_count_tasks() -> None:
    """Weights 2, 0.5, 0.5 are the mean over a batch that holds the tasks four times, once and once."""
    dataset, learner, phi = parts("regression")
    batch = dataset.sample("train", 0, 3)
    weights = torch.tensor([2.0, 0.5, 0.5], dtype=torch.float64)
    many = tree_map(lambda tensor: tensor[torch.tensor([0, 0, 0, 0, 1, 2])], batch)
    for chunk in (None, 2):
        meta_gradient = MetaGradient(learner, chunk, compiled=False)
        torch.testing.assert_close(
            meta_gradient(phi, batch, 0.0, weights), meta_gradient(phi, many), rtol=1e-9, atol=1e-12
        )
        equal = meta_gradient(phi, batch, 0.0, torch.ones(3, dtype=torch.float64))
        torch.testing.assert_close(equal, meta_gradient(phi, batch), rtol=0, atol=0)


def test_a_sequence_chooses_from_its_group() -> None:
    dataset = settings("dataset=polynomials").dataset.load(0, torch.device("cpu"), torch.float64)
    learner, phi = build(dataset, "algorithm=maml", *MLP, inner_lr=0.01)
    for select in ("k_center", "loss"):
        chosen = Selector(selection(select), learner, dataset, 2, None)(phi, 5, 0.0, 1)
        assert chosen.batch.identity.tolist() == [1, 1]


def test_ties_are_broken_deterministically() -> None:
    generator = torch.Generator().manual_seed(0)
    pairs = 10 * torch.arange(5.0, dtype=torch.float64)[:, None, None] ** 2 + torch.rand(5, 2, 3, generator=generator)
    distances = apart(pairs.flatten(0, 1))
    noise = 1 + 1e-13 * torch.randn(10, 10, 10, generator=generator, dtype=torch.float64)
    chosen = {tuple(k_medoids(distances * factor, 5).sort().values.tolist()) for factor in noise}
    assert len(chosen) == 1
