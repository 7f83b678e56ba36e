"""The output regulariser against its formula, and against forgetting."""

import torch
from builders import MLP, build, moved, waves
from torch import Tensor
from torch.func import functional_call

from metarun.regularisers.output import Memory, OutputRegulariser

MADE = ("hypernet=full", "hypernet.hidden=[6]", "embedding=support", "embedding.size=4", "embedding.hidden=8")


def test_it_is_the_change_of_what_is_made() -> None:
    """Mean over the groups behind of the mean over their embeddings of ‖f(φ*, e) - f(φ, e)‖², by a plain loop."""
    learner, phi = build(waves(), *MLP, *MADE)
    kept, now = moved(phi, 0.1), moved(phi, 0.3)
    torch.manual_seed(0)
    groups = [torch.randn(3, 4, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)]
    leaves = {group: {n: t.clone().requires_grad_() for n, t in tensors.items()} for group, tensors in now.items()}

    def made(at: dict[str, dict[str, Tensor]], e: Tensor) -> dict[str, Tensor]:
        return functional_call(learner.hypernet, at["hypernet"], (at["theta"], e))

    wanted = torch.zeros((), dtype=torch.float64)
    for embeddings in groups:
        for e in embeddings:
            old, new = made(kept, e), made(leaves, e)
            wanted = wanted + sum((new[n] - old[n].detach()).square().sum() for n in new) / len(embeddings) / 2
    flat = [tensor for group in ("theta", "hypernet") for tensor in leaves[group].values()]
    gradients = torch.autograd.grad(wanted, flat)
    gradient, value = OutputRegulariser(learner, Memory(kept, groups))(now)
    torch.testing.assert_close(value, wanted.detach(), rtol=1e-12, atol=0)
    ours = [tensor for group in ("theta", "hypernet") for tensor in gradient[group].values()]
    torch.testing.assert_close(ours, list(gradients), rtol=1e-10, atol=1e-12)


def test_nothing_has_changed_at_the_snapshot() -> None:
    learner, phi = build(waves(), *MLP, *MADE)
    phi = moved(phi)
    gradient, value = OutputRegulariser(learner, Memory(phi, [torch.ones(2, 4, dtype=torch.float64)]))(phi)
    assert value == 0
    assert all(not tensor.any() for tensors in gradient.values() for tensor in tensors.values())
