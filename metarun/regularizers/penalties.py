"""Ω: regularizers in the outer objective, L = Σ_t α_t L_t(θ_t) + λΩ."""

from dataclasses import dataclass

from torch import Tensor
from torch.utils._pytree import tree_leaves

from metarun.core.fields import choice, number
from metarun.models.base import Parameters


@dataclass(kw_only=True)
class Penalties:
    """Weights λ of the terms of Ω, each a sum of squares; 0: none.

    ``output`` is the one term that no single task has: see `metarun.training.output_regularizer`.
    """

    l2: float = number(least=0)
    l2_of: str = choice("theta", "phi")
    embedding: float = number(least=0)
    proximal: float = number(least=0)
    output: float = number(least=0)
    remember: int = number(least=1)

    @property
    def used(self) -> dict[str, float]:
        """The weights that are not 0, by term."""
        weights = {"l2": self.l2, "embedding": self.embedding, "proximal": self.proximal, "output": self.output}
        return {term: weight for term, weight in weights.items() if weight}

    def terms(
        self, learned: dict[str, Parameters], embedding: Tensor, start: Parameters, adapted: Parameters
    ) -> dict[str, tuple[float, Tensor]]:
        """The terms that one task has, each with its weight: of what is learned of φ, e_t ``[size]``, θ_t⁰ and θ'."""
        terms = {}
        if self.l2:
            terms["l2"] = (self.l2, squares(learned if self.l2_of == "phi" else start))
        if self.embedding:
            terms["embedding"] = (self.embedding, squares(embedding))
        if self.proximal:
            terms["proximal"] = (self.proximal, squares({n: adapted[n] - tensor for n, tensor in start.items()}))
        return terms


def squares(tree: object) -> Tensor:
    """Sum of the squares of every number in a tensor or a tree of tensors: a scalar."""
    first, *others = (leaf.square().sum() for leaf in tree_leaves(tree))
    return sum(others, start=first)
