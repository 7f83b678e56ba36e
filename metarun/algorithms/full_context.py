"""Full context embeddings (Vinyals et al. 2016, appendix A): features of an example that know the support set.

The support set is read as a sequence, so that its order matters.
"""

import torch
from torch import Tensor, nn

from metarun.algorithms.attention import attention


class FullContext(nn.Module):
    """Embeddings g(x_i, S) of support examples and f(x̂, S) of queries, from features g'(x_i) and f'(x̂).

    g' and f' are one network here, the task model. ``steps``: how often a query reads the support set, K.
    """

    def __init__(self, features: int, steps: int) -> None:
        super().__init__()
        self.steps = steps
        self.onwards = Cell(features, features)
        self.backwards = Cell(features, features)
        self.reading = Cell(features, 2 * features)

    def forward(self, support: Tensor, queries: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """``[s, features]``, ``[q, features]`` to the same; ``mask`` ``[s]``: 0 for padding in the support set."""
        memory = self.support(support, mask)
        return memory, self.queries(queries, memory, mask)

    def support(self, features: Tensor, mask: Tensor) -> Tensor:
        """g(x_i, S) = h→_i + h←_i + g'(x_i), by an LSTM in each direction (A.2)."""
        rows = list(range(len(features)))
        onwards = self._read(self.onwards, features, rows, mask)
        backwards = self._read(self.backwards, features, rows[::-1], mask)[::-1]
        return torch.stack(onwards) + torch.stack(backwards) + features

    def queries(self, features: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """f(x̂, S) = h_K of an LSTM that attends to the g(x_i, S) before each step (equations 3 to 6).

        ĥ_0 and c_0, which the paper does not give, are 0.
        """
        out = cell = torch.zeros_like(features)
        for _ in range(self.steps):
            hidden = out + features
            read = attention(hidden @ memory.T, mask) @ memory
            out, cell = self.reading(features, torch.cat((hidden, read), 1), cell)
        return out + features

    @staticmethod
    def _read(lstm: "Cell", features: Tensor, rows: list[int], mask: Tensor) -> list[Tensor]:
        """The outputs at these rows, one after another; at a row that is no example it stays as it was."""
        hidden = cell = torch.zeros_like(features[0])
        outputs = []
        for row in rows:
            after = lstm(features[row], hidden, cell)
            hidden, cell = (
                torch.where(mask[row] > 0, new, old) for new, old in zip(after, (hidden, cell), strict=True)
            )
            outputs.append(hidden)
        return outputs


class Cell(nn.Module):
    """A step of an LSTM, out of operations that can be batched over tasks and differentiated twice."""

    def __init__(self, features: int, recurrent: int) -> None:
        super().__init__()
        self.input = nn.Linear(features, 4 * features)
        self.recurrent = nn.Linear(recurrent, 4 * features, bias=False)

    def forward(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Output and cell state ``[..., features]`` from input, recurrent input and cell state."""
        enter, forget, new, leave = (self.input(x) + self.recurrent(hidden)).chunk(4, -1)
        cell = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
        return leave.sigmoid() * cell.tanh(), cell
