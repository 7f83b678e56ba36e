"""The rules behind ``device.compile=auto`` and ``device.threads=auto``: arithmetic on a `Workload`, never a timing.

So the same run makes the same choice anywhere, but for the number of cores.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from metarun.engine.compile.workload import MOST, Workload


@dataclass(frozen=True)
class Savings:
    """Seconds that compiling saves for each operation of the eager computation, and for each byte that it writes."""

    per_operation: float
    per_byte: float


ON_CPU = Savings(15e-6, 0.8e-10)
"""Rounded down from meta-steps on one thread of a server CPU with AVX-512, in CPU time, eager and compiled:
``experiment=maml_sinusoid`` (324 operations, 3 MB) 6.7 and .6 ms; ``film_families`` (2,142, 32 MB) 40 and 4 ms; the
same with 140-wide layers and no hypernetwork (1,682, 227 MB) 107 and 41 ms; Conv-4, 32 tasks, one step (1,573, 830 MB)
279 and 191 ms."""
LAUNCHED = Savings(10e-6, 0)
"""On CUDA, where kernels are launched one by one: small steps wait for the host. On an H100 an eager meta-step of sine
waves (324 operations) took 9.2 ms, compiled 1.3 ms."""
RECORDED = Savings(0, 0)
"""On CUDA, with a CUDA graph, which launches all kernels at once: on an H100 the same step took .57 ms, compiled or
not."""
SECONDS_TO_COMPILE = 20.0
"""What compiling takes however small the computation is, and comparing it with the eager one."""
SECONDS_PER_OPERATION = 25e-3
"""What it takes beside, for each operation of the eager computation. In CPU time 26, 65 and 57 s were measured for the
first three meta-steps of `ON_CPU`, 47 s for the evaluation of sine waves (637 operations, two graphs), and on slower
cores 78 s for that of ``film_families`` (1,022, two graphs)."""
FEWEST = 100
"""What is computed less often than this is not compiled, and its operations are not counted, which takes a second."""
SHARED_FROM = 1e6
"""Floating-point operations of the mean PyTorch operation from which several threads are worth it: where they take as
long, 10 to 20 µs with one thread, as it takes to launch the operation, which no other thread can help with."""


def pays(computations: Sequence[tuple[Workload, int]], savings: Savings) -> bool:
    """Whether compiling these computations, with their numbers of calls, saves more time than it takes.

    Those that are too large to be counted are not compiled: that would take ten minutes.
    """
    if any(load.operations >= MOST for load, _ in computations):
        return False
    saved = sum(
        times * (load.operations * savings.per_operation + load.bytes * savings.per_byte)
        for load, times in computations
    )
    taken = sum(SECONDS_TO_COMPILE + load.operations * SECONDS_PER_OPERATION for load, _ in computations)
    return saved > taken


def worth_sharing(load: Workload) -> bool:
    """Whether the operations of a computation on the CPU are large enough for several threads to share each.

    Threads wait for one another at the end of every operation. With small ones that takes as long as the arithmetic,
    and many times as long where another job takes one of the cores.
    """
    return load.flops >= load.operations * SHARED_FROM
