"""The private names of Hydra that metarun needs. With another version of Hydra, look here first."""

from hydra._internal.callbacks import Callbacks as Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl as ConfigLoaderImpl
from hydra._internal.hydra import Hydra as Hydra
from hydra._internal.utils import _run_hydra as run_hydra
from hydra._internal.utils import create_automatic_config_search_path as create_automatic_config_search_path
from hydra._internal.utils import get_args_parser as get_args_parser

__all__ = [
    "Callbacks",
    "ConfigLoaderImpl",
    "Hydra",
    "create_automatic_config_search_path",
    "get_args_parser",
    "run_hydra",
]
