"""Parts of a user's own with one mistake each: each is found before anything is trained, in a line that names it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from builders import CPU, HYPERNET, MLP, settings
from torch import Tensor, nn

from metarun.algorithms.maml import MAML
from metarun.core.errors import UserError
from metarun.core.inputs import InputSpec
from metarun.core.tasks import TaskBatch
from metarun.datasets.base import Dataset, Seeds
from metarun.datasets.sinusoid import Sinusoid, SinusoidConfig
from metarun.embeddings.base import Embedding, EmbeddingInputs, Fit
from metarun.hypernets.base import Hypernet
from metarun.models.base import Parameters
from metarun.setup import assemble
from metarun.setup.settings import Settings
from metarun.setup.suite import further_tests
from metarun.training.part_checks import check_user_parts, check_user_test_data

SINES = ("dataset=sinusoid", *MLP, "device.precision=float32")
FILM = ("hypernet=film", *HYPERNET[1:])


def tried(chosen: Settings, dataset: Dataset | None = None) -> None:
    loaded = dataset or chosen.dataset.load(0, CPU, chosen.device.dtype)
    learner, phi = assemble.compose(chosen, loaded, CPU)
    check_user_parts(chosen, learner, phi, loaded)


def refusal(chosen: Settings) -> str:
    with pytest.raises(UserError) as caught:
        tried(chosen)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Shifting(Hypernet):
    """Adds what it makes of the embedding to θ₀."""

    def __init__(self, size: int, theta: Parameters, spoil: Callable[[Parameters], Any]) -> None:
        super().__init__()
        self.shared = self.generated = frozenset(theta)
        self.heads = nn.ModuleList(nn.Linear(size, tensor.numel()) for tensor in theta.values())
        for head in self.heads:
            nn.init.zeros_(head.weight)  # as a delta: the embedding has no gradient at the start
            nn.init.zeros_(head.bias)
        self.spoil = spoil

    def forward(self, theta: Parameters, embedding: Tensor) -> Parameters:
        made = zip(self.heads, theta.items(), strict=True)
        return self.spoil({name: tensor + head(embedding).view(tensor.shape) for head, (name, tensor) in made})


@dataclass(kw_only=True)
class ShiftingConfig:
    spoil: Callable[[Parameters], Any]
    needs_embedding: bool = True

    def build(self, embedding_size: int, theta: Parameters) -> Hypernet:
        return Shifting(embedding_size, theta, self.spoil)


def hypernet(spoil: Callable[[Parameters], Any] = lambda made: made) -> Settings:
    return replace(settings(*SINES, *FILM), hypernet=ShiftingConfig(spoil=spoil))


def without_head(made: Parameters) -> Parameters:
    return {name: tensor for name, tensor in made.items() if name != "head.bias"}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without_head, "makes no 'head.bias'; a start θ_t⁰ has every tensor of θ, also those that it passes on"),
        (lambda made: {**made, "head.bias": made["head.bias"][None]}, "makes [1, 1] for 'head.bias', where [1] is exp"),
        (lambda made: {**made, "head.bias": 0.0}, "makes a float for 'head.bias', where [1] is expected"),
        (lambda made: {**made, "haed.bias": made["head.bias"]}, "makes 'haed.bias', which the model does not have"),
        (list, "returns a list, where a dict of every tensor of θ is expected"),
        (lambda made: {n: t / 0 for n, t in made.items()}, "makes 'layers.0.weight' with numbers that are not finite"),
        (lambda made: {n: t.double() for n, t in made.items()}, "in float64, where float32 is expected"),
        (
            lambda made: {n: t + torch.randn(()) for n, t in made.items()},
            "makes 'layers.0.weight' that differs between calls with equal arguments; it must be a pure function",
        ),
    ],
)
def test_hypernetwork_with_wrong_output(spoil: Callable[[Parameters], Any], said: str) -> None:
    line = refusal(hypernet(spoil))
    assert line.startswith(f"hypernet=film: {__name__}.Shifting.forward ")
    assert said in line


def test_hypernetwork_without_gradient() -> None:
    line = refusal(hypernet(lambda made: {name: tensor.detach() for name, tensor in made.items()}))
    assert f"{__name__}.Shifting: the gradient does not reach 'layers.0.weight' of theta, which would stay" in line


class Reading(Embedding):
    def __init__(self, size: int, outputs: int, spoil: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.encoder = nn.Linear(1 + outputs, size)
        self.unused = nn.Parameter(torch.ones(3))
        self.spoil = spoil

    def forward(self, seen: EmbeddingInputs, fit: Fit, testing: bool) -> Tensor:
        pairs = torch.cat((seen.support.x, seen.labels), 1)
        made = self.encoder(pairs).mean(0) + 0 * self.unused.sum()
        return self.spoil(made)


@dataclass(kw_only=True)
class ReadingConfig:
    spoil: Callable[[Tensor], Any]
    size: int = 4
    reads_labels: bool = True
    knows_tasks: bool = False

    def build(self, problem: Any, model: Any) -> Embedding:
        return Reading(self.size, problem.kind.outputs, self.spoil)


def embedding(spoil: Callable[[Tensor], Any] = lambda made: made) -> Settings:
    return replace(settings(*SINES, *FILM), embedding=ReadingConfig(spoil=spoil))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda made: made[None], "forward returns [1, 4], where [4] is expected (size=4)"),
        (lambda made: made[:3], "forward returns [3], where [4] is expected (size=4)"),
        (lambda made: made.tolist(), "forward returns a list, where [4] is expected"),
        (lambda made: made.log() - made.log(), "forward makes a result with numbers that are not finite"),
        (lambda made: made + torch.rand(4), "forward makes a result that differs between calls"),
        (lambda made: made.detach(), "Reading: the gradient does not reach 'unused' of embedding"),
        (lambda made: 0 * made + 1, "Reading: the gradient does not reach 'unused' of embedding"),
        (lambda made: made + (made * 0).sqrt(), "Reading: the gradient of embedding is not finite"),
    ],
)
def test_embedding_with_wrong_output(spoil: Callable[[Tensor], Any], said: str) -> None:
    line = refusal(embedding(spoil))
    assert line.startswith(f"embedding=support: {__name__}.Reading")
    assert said in line


class Network(nn.Module):
    def __init__(self, inputs: int, outputs: int, how: str) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(inputs, 8), nn.Linear(8, outputs)
        self.spare = nn.Linear(8, 8)
        self.how = how
        self.copies = [self.head.weight.detach().clone(), self.layer.weight.detach().clone()]

    def forward(self, x: Tensor, context: Any) -> Any:
        hidden = self.spare(self.layer(x).tanh()).tanh()
        match self.how:
            case "ignores":
                return (x @ self.copies[1].to(x.dtype).T).tanh() @ self.copies[0].to(x.dtype).T
            case "spare":
                return self.head(self.layer(x).tanh())
            case "flat":
                return self.head(hidden).flatten()
            case "wide":
                return self.head(hidden).expand(-1, 2)
            case "random":
                return self.head(hidden) + torch.rand(())
            case "dropout":
                return self.head(nn.functional.dropout(hidden, 0.5, training=True))
            case "infinite":
                return self.head(hidden) / 0
        return self.head(hidden)


@dataclass(kw_only=True)
class NetworkConfig:
    how: str
    normalization: str = "none"

    def build(self, inputs: InputSpec, outputs: int | None, context: int) -> nn.Module:
        return Network(inputs.size, outputs or 8, self.how)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("ignores", "forward ignores its parameters; use them as attributes of the module"),
        ("spare", "Network: the gradient does not reach 'spare.weight' of theta, which would stay at its start"),
        ("wide", "forward returns [10, 2] for 10 inputs, where [10, 1] is expected"),
        ("flat", "forward returns [2] for 2 inputs, where [2, outputs] is expected"),
        ("random", "forward makes a result that differs between calls with equal arguments"),
        ("dropout", "forward makes a result that differs between calls with equal arguments"),
        ("infinite", "forward makes a result with numbers that are not finite"),
    ],
)
def test_model_with_wrong_output(how: str, said: str) -> None:
    line = refusal(replace(settings(*SINES), model=NetworkConfig(how=how)))
    assert line.startswith(f"model=mlp: {__name__}.Network")
    assert said in line


@dataclass(kw_only=True)
class Odd(MAML):
    how: str = field(default="")

    def predict(self, model: Any, own: Any, state: Any, support: Any, x: Tensor, mask: Any = None) -> Any:
        made = super().predict(model, own, state, support, x, mask)
        match self.how:
            case "flat":
                return made.flatten()
            case "random":
                return made + torch.rand(())
            case "infinite":
                return made / 0
            case "detached":
                return made.detach()
        return made

    def objective(self, model: Any, own: Any, theta: Any, task: Any, draws: Any) -> Any:
        outcome = super().objective(model, own, theta, task, draws)
        return outcome._replace(objective=outcome.objective[None]) if self.how == "vector" else outcome


def algorithm(how: str, *overrides: str) -> Settings:
    chosen = settings(*SINES, "algorithm=maml", *overrides)
    return replace(chosen, algorithm=Odd(**vars(chosen.algorithm), how=how))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("flat", "predict returns [10], where [10, 1] is expected"),
        ("random", "predict makes a result that differs between calls with equal arguments"),
        ("infinite", "predict makes a result with numbers that are not finite"),
        ("detached", "Odd: the gradient does not reach 'layers.0.weight' of theta"),
        ("vector", "objective returns an objective [1], where a scalar is expected"),
    ],
)
def test_algorithm_with_wrong_output(how: str, said: str) -> None:
    line = refusal(algorithm(how))
    assert line.startswith(f"algorithm=maml: {__name__}.Odd")
    assert said in line


class Noisy(Sinusoid):
    """Its tasks are others at every call."""

    def sample(self, *place: Any) -> TaskBatch:
        tasks = super().sample(*place)
        return tasks._replace(support=tasks.support._replace(y=tasks.support.y + torch.rand(())))


@dataclass(kw_only=True)
class NoisyConfig(SinusoidConfig):
    def load(self, seed: int, device: torch.device, dtype: torch.dtype, episode_seed: int = 0) -> Noisy:
        return Noisy(self, Seeds(seed, episode_seed), device, dtype)


def test_dataset_with_changing_tasks_is_refused() -> None:
    chosen = settings(*SINES)
    line = refusal(replace(chosen, dataset=NoisyConfig(**vars(chosen.dataset))))
    assert line.startswith(f"dataset=sinusoid: {__name__}.Noisy.sample returns a different task when called again")


@pytest.mark.parametrize("kind", [SinusoidConfig, NoisyConfig])
def test_further_data_with_changing_tasks_are_refused(kind: type[SinusoidConfig]) -> None:
    chosen = settings(*SINES)
    further = {"mine": kind(**{**vars(chosen.dataset), "noise": 0.5})}
    chosen = replace(chosen, test_dataset=further)
    loaded = chosen.load_dataset(CPU)
    tests = further_tests(chosen, loaded, *assemble.compose(chosen, loaded, CPU), CPU)
    if kind is SinusoidConfig:
        check_user_test_data(chosen, tests)
        return
    with pytest.raises(UserError, match=rf"^test_dataset.mine: {__name__}.Noisy.sample returns a different task"):
        check_user_test_data(chosen, tests)


@pytest.mark.parametrize(
    "chosen",
    [
        hypernet(), embedding(), replace(settings(*SINES), model=NetworkConfig(how="")), algorithm(""),
        algorithm("", "algorithm.order=1"), algorithm("", "algorithm.rates.learned=true", "algorithm.order=1"),
        algorithm("", *FILM), algorithm("", "hypernet=full", *HYPERNET[1:]),
    ],
    ids=range(8),
)  # fmt: skip
def test_sound_parts_pass(chosen: Settings) -> None:
    """Those that start at zero too, which hides the embedding, and those whose step sizes get no gradient."""
    tried(chosen)


def test_parts_of_metaruns_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = settings(*SINES, *FILM)
    dataset = chosen.dataset.load(0, CPU, chosen.device.dtype)
    learner, phi = assemble.compose(chosen, dataset, CPU)
    monkeypatch.setattr(type(dataset), "sample", lambda *_: pytest.fail("tried"))
    check_user_parts(chosen, learner, phi, dataset)
