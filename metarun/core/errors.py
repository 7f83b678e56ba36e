"""Exceptions that end a run early and are not bugs of this process."""


class UserError(Exception):
    """A mistake that the user can mend: one line saying what is wrong and what would be right (exit code 2)."""


class Diverged(UserError):
    """Meta-training diverged; the message says which key to change (exit code 3)."""


class Interrupted(Exception):
    """The user stopped the run after its state was saved; the message has the command to resume it (exit code 130)."""


class Lost(Exception):
    """Another of the processes that share the run has failed, and the run with it.

    The message and ``trace`` are those that it ``told``, if it could; ``code`` is its exit code.
    """

    def __init__(self, line: str, *, code: int = 1, trace: str = "", told: bool = False) -> None:
        super().__init__(line)
        self.code, self.trace, self.told = code, trace, told


class UserCodeError(UserError):
    """An error in the user's own code; its traceback is that of ``__cause__``."""
