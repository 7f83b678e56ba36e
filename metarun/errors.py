"""The two ways a run ends early that are nobody's bug."""


class UserError(Exception):
    """A mistake that the user can mend: one line saying what is wrong and what would be right (exit code 2)."""


class Interrupted(Exception):
    """The user stopped the run after its state was saved; the message says how to go on (exit code 130)."""
