"""The modes of the command, ``mode=NAME``: what each goes with, and the module that runs it.

To add one, write a module with a function ``run(call: metarun.modes.running.Call)``, and add a line to the registry.
The command, its help, the completion and the checks of a configuration ask the registry for the rest.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from metarun.core.errors import UserError
from metarun.core.names import listed, nearest


@dataclass(frozen=True)
class Mode:
    """One mode. Nothing is imported for it until it runs, so that help and mistakes need no PyTorch."""

    name: str
    about: str
    """What it does, for the help."""
    module: str
    """The module whose function ``run`` runs it."""
    checkpoint: Literal["required", "optional", "refused"] = "refused"
    resumes: bool = False
    """Whether it goes with ``resume=``."""
    sweeps: bool = True
    """Whether it goes with ``-m``."""
    shared: bool = True
    """Whether several processes can share it (torchrun)."""
    writes: bool = True
    """Whether it has a run folder, with a log and a status."""
    reads: tuple[str, ...] | None = None
    """The groups and keys that it reads; None: all but those that only other modes read."""


_EVERYWHERE = ("seed",)
"""What modes that name what they read have in common with those that do not."""

_ALL = (
    Mode("train", "meta-train, then meta-test the best checkpoint", "metarun.modes.train", resumes=True),
    Mode("test", "meta-test a checkpoint (checkpoint=RUN_DIR)", "metarun.modes.test", checkpoint="required"),
    Mode(
        "optimize",
        "compare a meta-learner with other ways to choose hyperparameters on new data sets",
        "metarun.modes.optimize",
        checkpoint="optional",
        resumes=True,
        shared=False,
    ),
    Mode(
        "collect",
        "train scikit-learn's models on many data sets, as a table of scores to learn from",
        "metarun.modes.collect",
        sweeps=False,
        shared=False,
        writes=False,
        reads=("collect", "seed"),
    ),
    Mode(
        "info",
        "show what would run: tasks, parameters, memory, files; nothing is written",
        "metarun.modes.info",
        checkpoint="optional",
        resumes=True,
        sweeps=False,
        shared=False,
        writes=False,
    ),
)
MODES: dict[str, Mode] = {mode.name: mode for mode in _ALL}
"""The registry, in the order of the help."""


def named(name: str) -> Mode:
    """The mode of that name. Raises `UserError` if there is none."""
    if name not in MODES:
        raise UserError(f"mode={name}: one of {listed(MODES)} is expected{nearest(name, MODES)}")
    return MODES[name]


def refuse_misplaced(name: str, checkpoint: str | None, resume: str | None) -> None:
    """Refuse a mode with a checkpoint or a run to resume that it does not read. Raises `UserError`."""
    mode = named(name)
    if mode.checkpoint == "required" and checkpoint is None:
        raise UserError(f"mode={name} needs checkpoint=PATH: a run's folder, or a file of its folder checkpoints/")
    if mode.checkpoint == "refused" and checkpoint is not None:
        readers = " or ".join(f"mode={other}" for other in reading(MODES))
        raise UserError(
            f"checkpoint={checkpoint}: not read with mode={name}; add {readers}, or give resume=RUN_DIR to continue "
            "training a run"
        )
    if not mode.resumes and resume is not None:
        instead = "give checkpoint=PATH instead" if mode.checkpoint != "refused" else "leave it out"
        raise UserError(f"resume={resume}: continues training, which mode={name} does not; {instead}")


def refuse_unread(name: str, typed: Iterable[str]) -> None:
    """Refuse groups and keys that were typed and that a mode does not read. Raises `UserError`.

    typed: full names of keys, and groups, without those of Hydra.
    """
    mode = named(name)
    elsewhere = {key: other.name for other in MODES.values() for key in other.reads or () if key not in _EVERYWHERE}
    for key in typed:
        first = key.split("/")[0].split(".")[0].split("@")[0]
        if mode.reads is None and first in elsewhere:
            raise UserError(f"{key}: is for mode={elsewhere[first]}, not mode={name}")
        if mode.reads is not None and first not in (*mode.reads, "mode"):
            raise UserError(f"{key}: not read with mode={name}, which reads {listed(mode.reads)}")


def reading(modes: Mapping[str, Mode]) -> list[str]:
    """The names of the modes that need a checkpoint."""
    return [name for name, mode in modes.items() if mode.checkpoint == "required"]


def refuse_several(names: list[str], *, sweep: bool, processes: bool) -> None:
    """Refuse a mode of these with ``-m``, or in several processes, that does not go with it. Raises `UserError`."""
    for mode in map(named, names):
        if sweep and not mode.sweeps:
            raise UserError(f"mode={mode.name}: describes a single run; leave out -m")
        if processes and not mode.shared:
            raise UserError(f"mode={mode.name}: runs in one process; write metarun mode={mode.name}, without torchrun")
