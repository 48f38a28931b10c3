"""The one exception for a user's mistake: its text is the single line the user reads."""


class InputError(Exception):
    """A flag, file or folder that cannot be used: the message names it, what was found and what to do."""
