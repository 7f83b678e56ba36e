"""Base classes of hypernetworks: their common keys, generated and shared tensors."""

from abc import abstractmethod
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from torch import Tensor

from metarun.core.errors import UserError
from metarun.core.fields import choice, number
from metarun.hypernets.base import Hypernet
from metarun.models.base import CONTEXT, HEAD, NORMS, Parameters

CHOICES = ("all", "head", "body", "normalization")


@dataclass(kw_only=True)
class GeneratingHypernet:
    """Keys of every ``conf/hypernet/*.yaml`` file but ``none``.

    lr_scale: factor on the outer step size for the hypernetwork's own parameters. Where a linear layer of width m makes
        θ, a step of Adam moves each number of θ up to m times as far as a step on θ₀ itself.
    """

    layers: str = choice(*CHOICES)
    delta: bool
    hidden: list[int] = number(least=1, most=1_000_000)
    lr_scale: float = number(above=0)
    needs_embedding = True

    def build(self, embedding_size: int, theta: Parameters) -> Hypernet:
        """Raises `UserError` for a choice of layers that the task model does not have."""
        if not self.hidden:
            raise UserError("hypernet.hidden=[]: give at least one layer, as in [64,64]")
        return self.network(embedding_size, theta)

    @abstractmethod
    def network(self, embedding_size: int, theta: Parameters) -> Hypernet:
        """As `build`, after the common keys are checked."""


class Generator(Hypernet):
    """Generates some tensors of θ_t⁰ and takes the others from θ₀."""

    def __init__(self, theta: Parameters, made: Iterable[str], shared: Iterable[str]) -> None:
        super().__init__()
        self.names = list(theta)
        self.generated, self.shared = frozenset(made), frozenset(shared)

    def forward(self, theta: Parameters, embedding: Tensor) -> Parameters:
        made = self.tensors(theta, embedding)
        # In θ's own order, which neither the made nor the shared ones alone are in.
        return {name: made[name] if name in made else theta[name] for name in self.names}

    def tensors(self, theta: Parameters, embedding: Tensor) -> Parameters:
        """The tensors named in ``generated``."""
        raise NotImplementedError


class TensorGenerator(Generator):
    """Generates whole tensors, f(φ, e_t), or with ``delta`` the difference to θ₀.

    As HyperMAML has it (Przewięźlikowski et al. 2022), the sum starts at θ₀, since f starts at zero.
    """

    def __init__(self, theta: Parameters, config: GeneratingHypernet) -> None:
        made = chosen(config.layers, theta)
        super().__init__(theta, made, theta if config.delta else theta.keys() - made)

    def tensors(self, theta: Parameters, embedding: Tensor) -> Parameters:
        made = self.generate(embedding)
        return {name: theta[name] + tensor if name in self.shared else tensor for name, tensor in made.items()}

    def generate(self, embedding: Tensor) -> Parameters:
        """f(φ, e_t)."""
        raise NotImplementedError


def chosen(layers: str, names: Collection[str]) -> list[str]:
    """The names selected by ``hypernet.layers``. Raises `UserError` if it selects none.

    A context is never generated: its initial value is 0.
    """
    means = {
        "all": lambda name: True,
        "head": lambda name: name.startswith(HEAD),
        "body": lambda name: not name.startswith(HEAD),
        "normalization": lambda name: name.startswith(NORMS),
    }
    there = {option: [name for name in names if test(name) and name != CONTEXT] for option, test in means.items()}
    if not there[layers]:
        first, *others = (option for option, found in there.items() if found)
        more = f" ({', '.join(others)} are also possible)" if others else ""
        raise UserError(
            f"hypernet.layers={layers}: the task model has no such parameters; set hypernet.layers={first}{more}"
        )
    return there[layers]
