"""The MLP on e_t that the heads of a hypernetwork share."""

from itertools import pairwise

from torch import nn


class Trunk(nn.Sequential):
    """``[..., inputs]`` to ``[..., width]``, ``width`` the last of ``hidden``, with a mean square of one."""

    def __init__(self, inputs: int, hidden: list[int]) -> None:
        sizes = [inputs, *hidden]
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU()]
        # Unit mean square is what hyperfan-in assumes of a head's input.
        super().__init__(*layers, nn.RMSNorm(sizes[-1], elementwise_affine=False))
        self.width = sizes[-1]
