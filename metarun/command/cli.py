"""The command ``metarun``: one clear line for every mistake, and an exit code that says whose."""

import os
import sys
from collections.abc import Sequence

from metarun.command.dispatch import dispatch
from metarun.command.exit_codes import run_command
from metarun.config.compose import one_line
from metarun.core.account import give_name
from metarun.core.color import colored
from metarun.core.errors import UserError
from metarun.core.output import forgiving


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (`metarun.command.exit_codes`)."""
    give_name()
    with forgiving():
        return _main(list(sys.argv[1:] if arguments is None else arguments))


def _main(arguments: list[str]) -> int:
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return _shared(arguments)
    ending = run_command(lambda: dispatch(arguments, None))
    if ending is None:
        return 0
    print(f"{ending.trace}{colored('metarun:', 'red', sys.stderr)} {ending.line}", file=sys.stderr)
    return ending.code


def _shared(arguments: list[str]) -> int:
    """Run the command line as one of torchrun's processes."""
    from metarun.engine.processes.group import joined

    try:
        with joined() as processes:
            ending = run_command(lambda: dispatch(arguments, processes), processes)
            if ending is None:
                return 0
            processes.fail(*ending)
            return ending.code
    except UserError as error:
        print(f"metarun: {one_line(str(error))}", file=sys.stderr)
        return 2
