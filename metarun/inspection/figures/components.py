"""Principal components."""

import torch
from torch import Tensor


def principal(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates ``[T, 2]`` on the first two principal components, and their shares of the variance ``[2]``."""
    exact = embeddings.double()
    centerd = exact - exact.mean(0)
    left, values, _ = torch.linalg.svd(centerd, full_matrices=False)
    coordinates = torch.nn.functional.pad(left * values, (0, 2))[:, :2]
    share = values.square() / values.square().sum().clamp(min=torch.finfo(torch.float64).tiny)
    return coordinates, torch.nn.functional.pad(share, (0, 2))[:2]
