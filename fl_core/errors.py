"""The one exception for mistakes of the user, so that a command can report them in one line."""


class InputError(Exception):
    """What is wrong, where (file and key), and what would be right. Commands exit with code 2."""
