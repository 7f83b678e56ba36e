"""Intervals of a mean over episodes for *other classes*, if episodes draw their classes from a finite set.

Episodes that share a class are not independent. An interval over episodes says how well the mean is known for these
classes, however few there are; this one treats the classes as a sample too. Needs no PyTorch.
"""

from collections import Counter
from collections.abc import Sequence
from math import fsum, sqrt

from metarun.core.intervals import HUGE, Estimate
from metarun.core.student_t import quantile

_SINGULAR = 1e-9
"""Below this share of its scale a determinant counts as zero."""


class ClassSample:
    """Which classes each episode draws on: ``classes[e]`` holds the distinct class numbers of episode e.

    The model is m_e = μ + Σ_{c in e} h_c + ε_e with independent class effects h_c and residuals ε_e: the part of a
    mean over random sets of classes that is of first order (Hoeffding 1948), with several members per episode. Its two
    variance components come from two quadratic forms that are set equal to their expectations (Henderson's method 1;
    Searle, Casella & McCulloch 1992, chapter 5), with A_ee' the number of classes that two episodes share:
    r'r and r'Ar, where r are the values minus their mean. The variance of the mean follows,
    σ_h² Σ_c n_c² / E² + σ² / E, with n_c the episodes of class c. With one class per episode, and as many episodes of
    each, this is the clustered interval of `metarun.core.intervals`.
    """

    def __init__(self, classes: Sequence[Sequence[int]]) -> None:
        self._classes = [tuple(row) for row in classes]
        self._episodes = episodes = len(self._classes)
        count = Counter(number for row in self._classes for number in row)
        self.count = len(count)
        """How many distinct classes there are."""
        pairs = Counter((one, other) for row in self._classes for one in row for other in row)
        # 1'A1, tr(AA) and |A1|² for A = MM', M the membership of classes in episodes.
        self._shared = sum(n * n for n in count.values())
        squares = sum(n * n for n in pairs.values())
        rows = sum(sum(count[number] for number in row) ** 2 for row in self._classes)
        # tr(PA) and tr(PAPA) for the centering matrix P.
        self._trace = sum(map(len, self._classes)) - self._shared / episodes
        self._square = squares - 2 * rows / episodes + (self._shared / episodes) ** 2
        self._determinant = (episodes - 1) * self._square - self._trace**2
        self._repeat = any(n > 1 for n in count.values())

    def components(self, values: Sequence[float]) -> tuple[float, float] | None:
        """σ_h² and σ², at least 0; ``None`` where class effects cannot be told from the residuals.

        That is where all episodes have the same classes.
        """
        episodes = self._episodes
        if episodes < 2 or self._trace <= _SINGULAR * episodes:
            return None
        mean = fsum(values) / episodes
        residuals = [value - mean for value in values]
        totals: dict[int, float] = {}
        for residual, row in zip(residuals, self._classes, strict=True):
            for number in row:
                totals[number] = totals.get(number, 0.0) + residual
        plain = fsum(residual * residual for residual in residuals)
        if not self._repeat or self._determinant <= _SINGULAR * (episodes - 1) * self._square:
            return 0.0, plain / (episodes - 1)
        classwise = fsum(total * total for total in totals.values())
        of_classes = max(0.0, ((episodes - 1) * classwise - self._trace * plain) / self._determinant)
        return of_classes, max(0.0, (plain - of_classes * self._trace) / (episodes - 1))

    def mean(self, values: Sequence[float]) -> Estimate:
        """The mean of one value per episode, with the 95 % interval for classes that might have been drawn.

        Student's t with one degree of freedom less than there are classes. No interval where all episodes have the
        same classes, or where a value is not finite.
        """
        if not all(abs(value) < HUGE for value in values):
            return Estimate(sum(values) / len(values), None, self.count)
        mean, found = fsum(values) / len(values), self.components(values)
        if found is None:
            return Estimate(mean, None, self.count)
        of_classes, residual = found
        variance = of_classes * self._shared / self._episodes**2 + residual / self._episodes
        freedom = min(self.count, self._episodes) - 1
        return Estimate(mean, quantile(freedom) * sqrt(variance), self.count)
