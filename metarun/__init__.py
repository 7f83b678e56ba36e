"""Meta-learning experiments, composed from the command line."""

from pathlib import Path

__version__ = "0.1.0"

_tree = Path(__file__).parent.parent
# In a clone that is not installed, `metarun.conf` lies beside this package, as `conf/`, and not inside it.
if not (Path(__file__).parent / "conf").exists() and (_tree / "conf" / "config.yaml").is_file():
    __path__.append(str(_tree))
