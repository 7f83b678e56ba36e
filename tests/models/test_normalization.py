"""Normalization layers against PyTorch's, alone and under a batch of tasks."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from metarun.models.normalization import GROUPS, KINDS, MOMENTUM, Context, normalization


def inputs(*shape: int) -> Tensor:
    torch.manual_seed(0)
    return 2 * torch.randn(*shape, dtype=torch.float64) + 1


def layer(kind: str, channels: int = 3) -> nn.Module:
    made = normalization(kind, channels, "norm0").double()
    torch.manual_seed(1)
    for parameter in made.parameters():
        nn.init.normal_(parameter)
    return made


@pytest.mark.parametrize("kind", ["batch", "running", "global"])
@pytest.mark.parametrize(("shape", "theirs"), [((6, 3, 4, 5), nn.BatchNorm2d), ((6, 3), nn.BatchNorm1d)])
def test_batch_statistics_are_those_of_torch_in_training(kind: str, shape: tuple[int, ...], theirs: type) -> None:
    ours, reference, x = layer(kind), theirs(3).double(), inputs(*shape)
    reference.load_state_dict(ours.state_dict(), strict=False)
    torch.testing.assert_close(ours(x, Context()), reference(x), rtol=0, atol=1e-12)
    # And for the support rows, whatever the query rows are.
    torch.testing.assert_close(ours(x, Context(4))[:4], reference(x[:4]), rtol=0, atol=1e-12)


def test_query_rows_are_normalized_by_the_support_rows() -> None:
    ours, x = layer("batch"), inputs(6, 3, 4, 4)
    reference = nn.BatchNorm2d(3, momentum=1.0).double()
    reference.load_state_dict(ours.state_dict(), strict=False)
    reference(x[:4])
    # Evaluation uses the unbiased variance remembered; batches use the biased one.
    n = x[:4, 0].numel()
    reference.running_var *= (n - 1) / n
    torch.testing.assert_close(ours(x, Context(4))[4:], reference.eval()(x[4:]), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("shape", "theirs"), [((6, 3, 4, 5), nn.BatchNorm2d), ((6, 3), nn.BatchNorm1d)])
def test_global_is_batchnorm_in_training_and_in_evaluation(shape: tuple[int, ...], theirs: type) -> None:
    ours, reference, x = layer("global"), theirs(3, momentum=1.0).double(), inputs(*shape)
    reference.load_state_dict(ours.state_dict(), strict=False)
    context = Context()
    torch.testing.assert_close(ours(x, context), reference(x), rtol=0, atol=1e-12)
    kept = torch.stack((reference.running_var, reference.running_mean))
    torch.testing.assert_close(context.running["norm0"], kept, rtol=0, atol=1e-12)
    another = inputs(*shape).flip(0)[:1] - 2
    torch.testing.assert_close(ours(another, context), reference.eval()(another), rtol=0, atol=1e-12)
    torch.testing.assert_close(context.running["norm0"], kept, rtol=0, atol=1e-12)


def test_global_counts_real_rows_only() -> None:
    ours, x, mask = layer("global"), inputs(5, 3, 2, 2), torch.tensor([1.0, 0, 1, 1, 0], dtype=torch.float64)
    all_of_them, masked = Context(), Context(mask=mask)
    ours(x[mask > 0], all_of_them)
    ours(x, masked)
    torch.testing.assert_close(masked.running, all_of_them.running, rtol=0, atol=1e-12)


def test_group_norm_equals_torch_and_none_is_the_identity() -> None:
    x = inputs(2, 2 * GROUPS, 3, 3)
    ours = layer("group", 2 * GROUPS)
    state = ours.state_dict()
    wanted = nn.functional.group_norm(x, GROUPS, state["norm.weight"], state["norm.bias"])
    torch.testing.assert_close(ours(x, Context(1)), wanted, rtol=0, atol=1e-12)
    assert torch.equal(layer("none")(x, Context(1)), x)


def test_running_statistics_are_a_moving_average_from_the_first_support_batch() -> None:
    ours, first, second = layer("running"), inputs(5, 3), inputs(9, 3).flip(0)
    context = Context()
    ours(first, context)
    ours(second, context)

    def average(of_first: Tensor, of_second: Tensor) -> Tensor:
        return (1 - MOMENTUM) * of_first + MOMENTUM * of_second

    variance = average(first.var(0, correction=0), second.var(0, correction=0))
    mean = average(first.mean(0), second.mean(0))
    torch.testing.assert_close(context.running["norm0"], torch.stack((variance, mean)), rtol=0, atol=1e-12)


def test_query_rows_are_normalized_by_the_average() -> None:
    ours, x = layer("running"), inputs(7, 3)
    context = Context(support=4, running={"norm0": torch.tensor([[4.0, 1.0, 9.0], [1.0, 0.0, -1.0]]).double()})
    out = ours(x, context)
    variance, mean = context.running["norm0"]
    state = ours.state_dict()
    wanted = (x[4:] - mean) / (variance + 1e-5).sqrt() * state["weight"] + state["bias"]
    torch.testing.assert_close(out[4:], wanted, rtol=0, atol=1e-12)


def test_the_caller_s_statistics_are_replaced_not_changed() -> None:
    remembered = torch.ones(2, 3).double()
    layer("running")(inputs(5, 3), Context(running={"norm0": remembered}))
    assert torch.equal(remembered, torch.ones(2, 3).double())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("support", [None, 3])
def test_batched_tasks_equal_a_loop(kind: str, support: int | None) -> None:
    """Statistics over two axes instead of one would mix the tasks."""
    ours, x = layer(kind), inputs(4, 5, 3, 2, 2) * torch.tensor([1, 2, 3, 4]).view(4, 1, 1, 1, 1)
    parameters = {name: torch.stack([p * n for n in range(1, 5)]) for name, p in ours.named_parameters()}

    def one(parameters: dict[str, Tensor], x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        context = Context(support)
        return functional_call(ours, parameters, (x, context)), context.running

    out, running = vmap(one)(parameters, x)
    for task in range(4):
        wanted, remembered = one({name: p[task] for name, p in parameters.items()}, x[task])
        torch.testing.assert_close(out[task], wanted, rtol=0, atol=1e-12)
        torch.testing.assert_close({n: r[task] for n, r in running.items()}, remembered, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["batch", "running", "global"])
@pytest.mark.parametrize("support", [None, 3])
@pytest.mark.parametrize("rows", [None, [1.0, 0.0, 1.0]])
def test_a_linear_map_is_normalized_without_a_look_at_its_outputs(
    kind: str, support: int | None, rows: list[float] | None
) -> None:
    ours, weight, x = layer(kind), inputs(3, 4), inputs(3 if support is None else 5, 4, 6)
    mask = None if rows is None else torch.tensor(rows, dtype=torch.float64)
    seen, wanted = Context(support, mask), Context(support, mask)
    for _ in range(2):  # of statistics that are kept the second batch is another matter than the first
        torch.testing.assert_close(ours.of_linear(weight, x, seen), ours(weight @ x, wanted), rtol=0, atol=1e-12)
        torch.testing.assert_close(seen.running, wanted.running, rtol=0, atol=1e-12)


def test_constant_outputs_have_no_negative_variance() -> None:
    """Rounding would make one of a large mean."""
    ours = normalization("batch", 3, "norm0")
    out = ours.of_linear(torch.randn(3, 2), 1e4 * torch.ones(5, 2, 7), Context())
    assert out.isfinite().all()


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(ValueError, match="no normalization 'layer'; there are batch, running, global, group, none"):
        normalization("layer", 3, "norm0")
