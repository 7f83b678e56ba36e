"""Meta-learning experiments, composed from the command line; and trained meta-learners, from Python: `load`."""

from pathlib import Path
from typing import TYPE_CHECKING

from metarun.core.version import __version__ as __version__

if TYPE_CHECKING:
    import torch

    from metarun.meta_learner import MetaLearner

_tree = Path(__file__).parent.parent
# In a clone that is not installed, `metarun.conf` lies beside this package, as `conf/`, and not inside it.
if not (Path(__file__).parent / "conf").exists() and (_tree / "conf" / "config.yaml").is_file():
    __path__.append(str(_tree))


def load(
    run: str | Path,
    *,
    checkpoint: str | Path = "best",
    device: "str | torch.device" = "cpu",
    config_dir: str | Path | None = None,
) -> "MetaLearner":
    """The meta-learner that a run left in its folder. Its dataset need not be there.

    run: the folder, or a file of its folder ``checkpoints``. checkpoint: ``best`` (validated), ``last``, or the path of
    a file. device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``. config_dir: the folder given as ``--config-dir``, where
    the run has parts of the user's own; their modules are looked for as on the command line.

    Raises `metarun.core.errors.UserError`, one line, where there is no such checkpoint, where it is broken, or where it
    does not fit the parts that its settings name. Nothing in the folder is executed.
    """
    from metarun.meta_learner import load as loaded  # here, because importing PyTorch takes seconds

    return loaded(run, checkpoint=checkpoint, device=device, config_dir=config_dir)
