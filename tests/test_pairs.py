"""Any part goes with any other: every pair of options runs, or is refused in one line that says what would.

What is refused is followed: the setting that the line names is made, until the composition runs.
"""

import random
import re
import shlex
import warnings
from collections.abc import Callable, Iterator
from itertools import combinations, product
from pathlib import Path
from typing import TypeVar

import pytest
import tiny_data
import torch
import tuning
import yaml
from builders import CPU, settings
from compositions import Choice, composed, falls, loaded, options, ran, small_keys
from documents import DOCS

from metarun.algorithms.base import Learned
from metarun.config.groups import PARTS
from metarun.core.errors import UserError
from metarun.datasets import omniglot, omniglot_files
from metarun.setup import assemble

FILES: dict[str, Choice] = {
    "configurations": ("dataset.path=FILES/tuning",),
    "image_folder": ("dataset.root=FILES/pictures", "dataset.fractions=[0.4,0.3,0.3]"),
    "omniglot": ("dataset.root=FILES/omniglot",),
    "school": ("dataset.path=FILES/schools.csv", "dataset.split=tasks"),
    "table": ("dataset.path=FILES/table.csv",),
}
"""What an option of ``dataset`` needs."""


IMPLICIT = ("algorithm.inner_steps=16", "algorithm.solver_steps=5")
"""With fewer the implicit gradient need not go down: it is that of the end of an inner loop."""


def group(name: str) -> list[Choice]:
    return [(f"{name}={option}", *(FILES.get(option, ()) if name == "dataset" else ())) for option in options(name)]


PARTED: dict[str, list[Choice]] = {
    name: found for name in PARTS if len(found := group(name)) > 1 and name != "tracking"
}
"""Every option of every group of which meta-training has a part, and that leaves a choice."""
PARTED["dataset"] += [
    ("dataset=table", "dataset.path=FILES/classes.csv", "dataset.kind=classification"),
    ("dataset=table", "dataset.path=FILES/table.csv", "dataset.split=rows"),
    ("dataset=sinusoid", "dataset.tasks=4"),
    ("dataset=glyphs", "dataset.train_ways=4"),
]
KEYED: dict[str, list[Choice]] = {
    "model.normalization": [
        (f"model.normalization={kind}",) for kind in ("batch", "running", "global", "group", "none")
    ],
    "model's other forms": [("model=conv4", "model.downsample=pool"), ("model=conv4", "model.readout=mean")],
    "algorithm's other forms": [
        ("algorithm=maml", "algorithm.order=1"),
        ("algorithm=maml", "algorithm.recompute=true"),
        ("algorithm=maml", "algorithm.contexts=3"),
        ("algorithm=maml", "algorithm.step_norms=true"),
        ("algorithm=maml", "algorithm.inner_norms=none"),
        ("algorithm=maml", "algorithm.minibatch=2"),
        ("algorithm=maml", "algorithm.inner_optimizer.name=adam", "algorithm.inner_lr=0.01"),
        ("algorithm=maml", "algorithm.first_order_share=0.5", "algorithm.multi_step_share=0.5"),
        ("algorithm=meta_sgd", "algorithm.rates.scale=log", "algorithm.rates.least=0.001"),
        ("algorithm=imaml", "algorithm.solver=neumann", "algorithm.curvature=hessian", *IMPLICIT),
        ("algorithm=mbml", "algorithm.optimizer_units=4"),
        ("algorithm=meml", "algorithm.prior.learned=true"),
        ("algorithm=matching", "algorithm.full_context=true", "algorithm.learned_scale=true"),
        ("algorithm=metaopt", "algorithm.head=ridge"),
        ("algorithm=finetune", "algorithm.head=cosine"),
        ("algorithm=finetune", "algorithm.head=nearest_centroid"),
        ("algorithm=finetune", "algorithm.tunes=head"),
    ],
    "hypernet's other forms": [
        ("hypernet=film", "hypernet.delta=false"),
        ("hypernet=full", "hypernet.layers=head"),
        ("hypernet=lowrank", "hypernet.layers=normalization"),
    ],
    "embedding's other forms": [
        ("embedding=support", "embedding.pooling=mean"),
        ("embedding=fisher", "embedding.learn_probe=true"),
    ],
    "regularizer": [
        ("regularizer.l2=0.1",),
        ("regularizer.l2=0.1", "regularizer.l2_of=phi"),
        ("regularizer.embedding=0.1",),
        ("regularizer.proximal=0.1",),
        ("regularizer.output=0.1",),
    ],
    "algorithm.outer": [
        ("algorithm.outer.slow.ratio=0.5",),
        ("algorithm.outer.tasks.select=k_center",),
        ("algorithm.outer.tasks.select=k_medoids",),
        ("algorithm.outer.tasks.select=loss",),
        ("algorithm.outer.optimizer=sgd",),
    ],
    "engine": [("engine.order=sequential",), ("engine.transductive=true",), ("engine.train_tasks=2",)],
    "device.precision": [(f"device.precision={kind}",) for kind in ("bf16", "float64", "tf32")],
}
"""Keys that swap a part too."""
AXES = {**PARTED, **KEYED}
GROUPS = list(combinations(PARTED, 2))

SETTING = re.compile(r"(?<![\w.])[a-z]\w*(?:\.[a-z]\w*)*=[^\s,;)]+")
STARTS = re.compile(r"[a-z]\w*(\.[a-z]\w*)*=\S+: ")
NO_KEY = re.compile(r"([\w.]+)=\S+: no key '\w+' in .* \(keys: .*\)")
MOST_REFUSALS = 8

T = TypeVar("T")


@pytest.fixture(scope="module", autouse=True)
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the user's files, and Omniglot with fewer characters."""
    folder = tmp_path_factory.mktemp("files")
    tiny_data.table(folder / "table.csv")
    tiny_data.table(folder / "classes.csv", classes=True)
    tiny_data.table(folder / "schools.csv", ("school", "score"))
    tiny_data.pictures(folder / "pictures")
    tuning.written(folder / "tuning", each=50)
    tiny_data.omniglot(folder / "omniglot")
    counts = {part: sum(alphabets.values()) for part, alphabets in tiny_data.OMNIGLOT.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(omniglot_files, "PARTS", counts)
        patch.setattr(omniglot, "_TEST", 5)
        patch.setattr(omniglot, "_RANDOM_VAL", 4)
        yield folder


@pytest.fixture(autouse=True)
def _strict() -> Iterator[None]:
    """Every warning is an error, and so is an operation that `torch.func.vmap` cannot batch and computes in a loop."""
    torch._C._debug_only_display_vmap_fallback_warnings(True)  # as it is by default
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def merged(*choices: Choice) -> Choice:
    """One command line of several choices, the last word on a key being the one that counts."""
    return tuple({text.partition("=")[0]: text for choice in choices for text in choice}.values())


def placed(choice: Choice, files: Path) -> Choice:
    return tuple(text.replace("FILES", str(files)) for text in choice)


def proposals(message: str) -> list[Choice]:
    """What the line of a refusal says would work: the settings of each alternative."""
    advice = message.rpartition(";")[2] if ";" in message else ""
    found = [tuple(SETTING.findall(alternative)) for alternative in advice.split(" or ")]
    return [settings for settings in found if settings]


def amended(typed: Choice, proposal: Choice) -> Choice:
    """The command line with the settings of a proposal; keys of an option that goes leave with it."""
    groups = {text.partition("=")[0] for text in proposal} & set(PARTS)
    kept = [text for text in typed if text.partition("=")[0] in groups or text.partition(".")[0] not in groups]
    return merged(tuple(kept), proposal)


def refused(typed: Choice, message: str) -> list[Choice]:
    """The proposals of a refusal, which is one line that begins with the setting at fault."""
    assert "\n" not in message, (typed, message)
    assert STARTS.match(message), (typed, message)
    if NO_KEY.fullmatch(message):
        return [()]
    assert proposals(message), (typed, message)
    return proposals(message)


def build(typed: Choice) -> None:
    settings = composed(typed)
    assemble.compose(settings, loaded(settings), settings.device.resolve())


def answered(typed: Choice, do: Callable[[Choice], T]) -> tuple[Choice, T]:
    """What ``do`` makes of a command line, or of the one that refusals lead to, and that line."""
    said: list[str] = []
    while len(said) < MOST_REFUSALS:
        try:
            return typed, do(typed)
        except UserError as refusal:
            said.append(str(refusal))
            if (key := NO_KEY.fullmatch(said[-1])) is not None:
                typed = tuple(text for text in typed if not text.startswith(f"{key[1]}="))
            typed = amended(typed, refused(typed, said[-1])[0])
    raise AssertionError(f"{typed}: still refused: {said}")


def run(typed: Choice, folder: Path) -> None:
    """Two meta-updates and a validation give finite numbers, and updates on one batch lower the objective there."""
    _, found = answered(typed, lambda typed: ran(typed, folder))
    learns = isinstance(found.learner.algorithm, Learned)
    assert len(found.metrics) == (found.settings.engine.steps if learns else 0), typed
    assert len(found.episodes) == 1 or found.settings.engine.order == "sequential", typed
    for figures in (*found.metrics, *(episodes.curves for episodes in found.episodes)):
        assert all(values.isfinite().all() for values in figures.values()), (typed, figures)
    for tensors in found.last.values():
        assert all(tensor.isfinite().all() for tensor in tensors.values()), typed
    if learns:
        assert falls(found), typed


@pytest.mark.parametrize(("one", "other"), GROUPS, ids=["-".join(pair) for pair in GROUPS])
def test_every_pair_is_built_or_refused_with_a_suggestion(files: Path, one: str, other: str) -> None:
    for pair in product(PARTED[one], PARTED[other]):
        answered(placed(merged(*pair), files), build)


@pytest.mark.parametrize(
    "typed",
    [
        ("algorithm=fomaml", "algorithm.first_order_share=0.5"),
        ("algorithm=fomaml", "algorithm.recompute=true"),
        ("algorithm.inner_steps=0", "algorithm.multi_step_share=0.5"),
        ("algorithm=anil", "algorithm.contexts=2"),
        ("engine.profile_steps=2", "algorithm=scratch"),
        ("engine.order=sequential", "dataset=polynomials", "regularizer.output=0.1"),
        ("algorithm=transformer", "algorithm.heads=3"),
        ("model.downsample=pool", "model.layers=9"),
        ("hypernet=film", "embedding=support", "embedding.heads=3"),
    ],
)
def test_incompatible_keys_are_refused_with_a_suggestion(typed: Choice) -> None:
    with pytest.raises(UserError):
        build(typed)
    answered(typed, build)


def sampled(axes: int, count: int) -> list[Choice]:
    """Choices on so many different axes each, the same ones every time."""
    generator, found = random.Random(axes), []
    while len(found) < count:
        choices = [generator.choice(AXES[axis]) for axis in generator.sample(sorted(AXES), axes)]
        if len(merged(*choices)) == sum(map(len, choices)):  # no two of them about the same key
            found.append(merged(*choices))
    return found


@pytest.mark.parametrize("axes", [2, 3])
def test_some_pairs_and_triples_train(files: Path, tmp_path: Path, axes: int) -> None:
    for choice in sampled(axes, 24):
        run(placed(choice, files), tmp_path)


@pytest.mark.slow
def test_more_triples_train(files: Path, tmp_path: Path) -> None:
    for choice in sampled(3, 144)[24:]:
        run(placed(choice, files), tmp_path)


TRAINED = [pair for pair in GROUPS if "device" not in pair]


@pytest.mark.slow
@pytest.mark.parametrize(("one", "other"), TRAINED, ids=["-".join(pair) for pair in TRAINED])
def test_every_pair_trains(files: Path, tmp_path: Path, one: str, other: str) -> None:
    for pair in product(PARTED[one], PARTED[other]):
        run(placed(merged(*pair), files), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(8))
def test_many_pairs_with_keys_that_swap_a_part_train(files: Path, tmp_path: Path, part: int) -> None:
    """400 of some three thousand."""
    pairs = [pair for one, other in combinations(AXES, 2) if other in KEYED for pair in product(AXES[one], AXES[other])]
    for pair in random.Random(0).sample(pairs, 400)[part::8]:
        run(placed(merged(*pair), files), tmp_path)


ROWS = max(map(len, PARTED.values()))


@pytest.mark.parametrize("row", [pytest.param(row, marks=[pytest.mark.slow] if row % 7 else []) for row in range(ROWS)])
def test_a_whole_run_shows_no_library_s_warning(
    files: Path, command: Callable[..., tuple[int, str, str]], row: int
) -> None:
    """Pictures, TensorBoard and results included; the rows have every option of every group."""
    chosen = [PARTED[name][row % len(PARTED[name])] for name in PARTED if name != "device"]
    typed, _ = answered(placed(merged(*chosen), files), build)
    small = [
        f"{key}={yaml.safe_dump(value, default_flow_style=True).split(chr(10))[0]}"
        for key, value in small_keys(typed).items()
    ]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        code, _, err = command(*merged(tuple(small), typed), "engine.test_episodes=4", "hydra.run.dir=run")
    assert code == 0, err
    assert not caught, [(warning.filename, str(warning.message)) for warning in caught]
    assert "Warning" not in err


def test_documented_refusals() -> None:
    said = re.findall(r"^\$ metarun (.*)\nmetarun: (.*)$", (DOCS / "hypernetworks.md").read_text("utf-8"), re.M)
    assert len(said) > 10
    for line, told in said:
        if "GiB" not in told:  # which depends on the machine
            with pytest.raises(UserError) as refusal:
                build_as_typed(line)
            assert str(refusal.value) == told


def build_as_typed(line: str) -> None:
    chosen = settings(*shlex.split(line))
    assemble.compose(chosen, loaded(chosen), CPU)
