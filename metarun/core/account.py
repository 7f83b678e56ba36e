"""The user account, which has no name in many containers."""

import getpass
import os


def number() -> str:
    """The user's id, for names of files; it is there where a name is not."""
    return str(os.getuid()) if hasattr(os, "getuid") else getpass.getuser()


def give_name() -> None:
    """Name an account that has no name, in the environment: PyTorch's compiler, for one, asks and fails."""
    try:
        getpass.getuser()
    except (KeyError, ImportError, OSError):
        os.environ["LOGNAME"] = f"uid{number()}"
