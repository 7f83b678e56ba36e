"""Linear heads on the trunk, one for each tensor that they make, and how they are initialized.

Hyperfan-in for ReLU (Chang, Flokas & Lipson 2020, "Principled weight initialization for hypernetworks"): numbers that a
hypernetwork makes get the variance that keeps the scale of the made network's activations, 1/fan_in for weights and 1
for biases. Of a head with d inputs of unit mean square and no bias that asks for weights of variance 1/d times that.
"""

from collections.abc import Iterable
from math import sqrt

from torch import Tensor, nn

from metarun.models.base import NORMS, Parameters


def is_gain(name: str) -> bool:
    """Whether a parameter of that name is the gain of a normalization layer, which starts at one."""
    return name.startswith(NORMS) and name.endswith(".weight")


def deviation(tensor: Tensor) -> float:
    """The standard deviation that hyperfan-in asks of a weight ``[out, in, ...]`` or a vector ``[n]``."""
    return 1 / sqrt(tensor[0].numel()) if tensor.dim() > 1 else 1.0


def uniform_head(width: int, outputs: int, std: float, mean: float = 0.0) -> nn.Linear:
    """A head whose outputs start with that standard deviation around ``mean``; exactly there for a deviation of 0."""
    head = nn.Linear(width, outputs)
    bound = std * sqrt(3 / width)
    nn.init.uniform_(head.weight, -bound, bound)
    nn.init.constant_(head.bias, mean)
    return head


class Heads(nn.ModuleDict):
    """One head for each of the tensors, from ``[width]`` to all of them.

    With ``delta`` they start at zero; else by hyperfan-in, and at one the gains of normalization, whatever the task.
    """

    def __init__(self, width: int, tensors: Parameters, delta: bool) -> None:
        super().__init__()
        self.shapes = {name: tensor.shape for name, tensor in tensors.items()}
        for name, tensor in tensors.items():
            mean = 1.0 if is_gain(name) and not delta else 0.0
            std = 0.0 if is_gain(name) or delta else deviation(tensor)
            self[module_name(name)] = uniform_head(width, tensor.numel(), std, mean)

    def forward(self, hidden: Tensor) -> Parameters:
        return {name: self[module_name(name)](hidden).view(shape) for name, shape in self.shapes.items()}


def module_name(name: str) -> str:
    """A parameter's name as that of a module, which may not hold a dot."""
    return name.replace(".", "/")


def picked(tensors: Parameters, names: Iterable[str]) -> Parameters:
    """The tensors of these names, in the order that they have."""
    wanted = frozenset(names)
    return {name: tensor for name, tensor in tensors.items() if name in wanted}
