"""What an IIOD server answers where it cannot do what it is asked."""

from __future__ import annotations

import errno


class IioError(Exception):
    """A refusal, which reaches the client as a negative error number.

    Attributes:
        number: of `errno`, positive.
    """

    def __init__(self, number: int) -> None:
        super().__init__(errno.errorcode[number])
        self.number = number
