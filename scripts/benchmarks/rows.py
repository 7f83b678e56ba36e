"""The rows of the benchmark: meta-steps on made-up tasks, by their parts and sizes."""

from dataclasses import dataclass, replace

LOOP, HIGHER, JAX, EAGER, GRAPHS, COMPILED, COMPILED_GRAPHS, BF16 = VARIANTS = (
    "loop", "higher", "jax", "eager", "graphs", "compiled", "compiled-graphs", "bf16",
)  # fmt: skip
"""The ways to compute a meta-gradient, in the order of the table; the last five are metarun's."""
CUDA_ONLY = (GRAPHS, COMPILED_GRAPHS)
"""Steps recorded as CUDA graphs and replayed."""
REFERENCE = EAGER
"""The one that goes with all: how far it is from `EXACT` tells what rounding does to a row."""
EXACT = "float64"
"""What all are compared with and nobody times: eager in double precision."""


@dataclass(frozen=True)
class Row:
    """One meta-step.

    algorithm: its settings in metarun; ``plain`` where it is MAML from a shared start, which the variants that have
        nothing of metarun know too. network: ``mlp`` or ``conv4``; pool: halve images by max-pooling and flatten what
        is left, else by strides and take the mean over space.
    input_shape: of one example. ways: classes of a task; 0: regression to a number. shots, queries: examples of each
        class, or of the task. chunk: tasks that metarun computes at once; ``None``: all.
    agreement: how far meta-gradients in float32 may be from exact, relative to the norm, or twice as far as eager's is.
        Max-pooling takes more: where two neighbors are equal but for rounding, the gradient goes to one or the other.
    threads: of the CPU; ``None``: as the command says.
    """

    name: str
    section: str
    title: str
    variants: tuple[str, ...]
    tasks: int
    input_shape: tuple[int, ...]
    ways: int
    shots: int
    queries: int
    network: str
    inner_lr: float
    inner_steps: int = 1
    pool: bool = False
    plain: bool = True
    algorithm: tuple[str, ...] = ("algorithm=maml",)
    chunk: int | None = None
    agreement: float = 1e-3
    threads: int | None = None

    @property
    def overrides(self) -> list[str]:
        """The row as settings of metarun, but for the dataset."""
        inner = [f"algorithm.inner_steps={self.inner_steps}", f"algorithm.inner_lr={self.inner_lr}"]
        if self.network == "mlp":
            return ["model=mlp", *self.algorithm, *inner]
        size = ["model.downsample=pool"] if self.pool else ["model.downsample=stride", "model.readout=mean"]
        adapted = inner if self.inner_steps else []
        return ["model=conv4", *size, "engine.transductive=true", *self.algorithm, *adapted]


STEPS, TASKS, INNER, THREADS = "steps", "tasks", "inner", "threads"
SECTIONS = {
    STEPS: "Meta-steps",
    TASKS: "Tasks in a meta-batch (Conv-4, 5-way 1-shot, 1 step; 32 tasks at once, at most)",
    INNER: "Inner steps (sine, 25 tasks; Conv-4, 5-way 1-shot, 8 tasks)",
    THREADS: "Threads (sine, 25 tasks; Conv-4, 5-way 1-shot, 32 tasks)",
}

# JAX's convolutions whose every task has weights of its own are slow on CPUs: most rows would take it minutes.
_BUT_JAX = tuple(variant for variant in VARIANTS if variant != JAX)
_SINE = Row(
    name="sine-1", section=STEPS, title="sine, 10 shots, 25 tasks, 1 step",
    variants=(LOOP, HIGHER, JAX, EAGER, GRAPHS, COMPILED, COMPILED_GRAPHS), tasks=25, input_shape=(1,), ways=0,
    shots=10, queries=10, network="mlp", inner_lr=0.01,
)  # fmt: skip
_OMNIGLOT = Row(
    name="omniglot-1", section=STEPS, title="Conv-4, 5-way 1-shot, 32 tasks, 1 step", variants=VARIANTS,
    tasks=32, input_shape=(1, 28, 28), ways=5, shots=1, queries=1, network="conv4", inner_lr=0.4,
)  # fmt: skip
_MORE = replace(_OMNIGLOT, variants=_BUT_JAX)
_OTHER = replace(_OMNIGLOT, variants=(LOOP, EAGER, GRAPHS, COMPILED, COMPILED_GRAPHS), plain=False)
_HYPERNET = ("algorithm=maml", "embedding=support")


def _series(row: Row, section: str, name: str, key: str, values: dict[int, tuple[str, ...]], title: str) -> list[Row]:
    """The row with several values of one key, and the variants for each."""
    return [
        replace(
            row, section=section, name=f"{name}-{value}", title=title.format(value), variants=variants, **{key: value}
        )
        for value, variants in values.items()
    ]


ROWS = [
    _SINE,
    replace(_SINE, name="sine-5", title="sine, 10 shots, 25 tasks, 5 steps", inner_steps=5),
    _OMNIGLOT,
    replace(_MORE, name="omniglot-5", title="Conv-4, 5-way 1-shot, 32 tasks, 5 steps", inner_steps=5),
    replace(_MORE, name="omniglot-5shot", title="Conv-4, 5-way 5-shot, 32 tasks, 1 step", shots=5),
    replace(_MORE, name="omniglot-20way", title="Conv-4, 20-way 1-shot, 16 tasks, 1 step", ways=20, tasks=16),
    replace(
        _MORE, name="color-5shot", title="Conv-4, pooling, 84×84×3, 5-way 5-shot, 4 tasks, 1 step",
        input_shape=(3, 84, 84), shots=5, tasks=4, inner_lr=0.01, pool=True, agreement=1e-2,
    ),
    replace(
        _OTHER, name="lowrank", title="Conv-4, 5-way 1-shot, 32 tasks, 1 step from hypernet=lowrank",
        algorithm=(*_HYPERNET, "hypernet=lowrank"),
    ),
    replace(
        _OTHER, name="film", title="Conv-4, 5-way 1-shot, 32 tasks, 1 step from hypernet=film",
        algorithm=(*_HYPERNET, "hypernet=film"),
    ),
    replace(
        _OTHER, name="reptile", title="Conv-4, 5-way 10-shot, 8 tasks, Reptile: 5 steps of Adam on 10 examples",
        algorithm=("algorithm=reptile",), shots=10, tasks=8, inner_steps=5, inner_lr=0.001,
    ),
    replace(
        _OTHER, name="protonet", title="Conv-4, 5-way 1-shot, 32 tasks, ProtoNet",
        algorithm=("algorithm=protonet",), inner_steps=0,
    ),
    *_series(
        replace(_OMNIGLOT, chunk=32), TASKS, "tasks", "tasks", title="{} tasks",
        values={1: (EAGER,), 8: (EAGER,), **dict.fromkeys((32, 128, 512), (EAGER, GRAPHS, COMPILED, COMPILED_GRAPHS))},
    ),
    *_series(
        _SINE, INNER, "sine-inner", "inner_steps", title="sine, {} steps",
        values=dict.fromkeys((1, 5, 10, 20), (LOOP, EAGER, GRAPHS, COMPILED, COMPILED_GRAPHS)),
    ),
    *_series(
        replace(_OMNIGLOT, tasks=8), INNER, "omniglot-inner", "inner_steps", title="Conv-4, {} steps",
        values=dict.fromkeys((1, 5, 10, 20), (LOOP, EAGER)),
    ),
    *_series(
        _SINE, THREADS, "sine-threads", "threads", title="sine, 1 step, threads: {}",
        values=dict.fromkeys((1, 2), (LOOP, EAGER, GRAPHS, COMPILED, COMPILED_GRAPHS)),
    ),
    *_series(
        _OMNIGLOT, THREADS, "omniglot-threads", "threads", title="Conv-4, 1 step, threads: {}",
        values=dict.fromkeys((1, 2), (LOOP, EAGER, GRAPHS, COMPILED, COMPILED_GRAPHS)),
    ),
]  # fmt: skip
BY_NAME = {row.name: row for row in ROWS}
