"""Expected calibration error: how far the confidence of a classifier is from its accuracy.

Predictions are put into bins of equal width by their confidence, the largest probability of the softmax, and the error
is Σ_bins n_bin / n · |accuracy - mean confidence| (Naeini et al. 2015; Guo et al. 2017 with 15 bins). Bins are open
below and closed above. All that is kept of a set of predictions are sums per bin, so sets merge by adding them.
"""

import torch
from torch import Tensor

BINS = 15


def calibration_sums(logits: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Per bin the number of predictions, of correct ones, and the sum of confidences: float64 ``[BINS, 3]``.

    Args:
        logits: ``[n, ways]``; log-probabilities are logits too.
        y: Classes, ``[n]``.
        weight: 1 for rows that count, otherwise 0, ``[n]``.
    """
    confidence, guess = logits.double().softmax(-1).max(-1)
    edges = torch.arange(1, BINS, dtype=torch.float64, device=logits.device) / BINS
    place = (confidence[:, None] > edges).sum(-1)
    inside = (place[:, None] == torch.arange(BINS, device=logits.device)) * weight.double()[:, None]
    facts = torch.stack((torch.ones_like(confidence), (guess == y).double(), confidence), -1)
    return inside.T @ facts


def calibration_error(sums: Tensor) -> float:
    """The expected calibration error of ``[BINS, 3]`` sums; NaN if there are no predictions or one is not finite."""
    count, correct, confidence = sums.unbind(-1)
    return float((correct - confidence).abs().sum() / count.sum())
