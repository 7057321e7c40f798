"""A node's own radio, which may go away in the middle of a run and come back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from calibration.power.plan import PlanError
from calibration.profiles.profile import ProfileError
from radio.api import Radio, RadioError, RadioSettings

_log = logging.getLogger(__name__)

R = TypeVar("R", bound=Radio)
Dress = Callable[[Radio, RadioSettings], R]

AGAIN_S = 0.25  # between two attempts to open it


class RadioGoneError(RadioError):
    """It could not be opened again for so long that it counts as lost."""


MISFIT = (ProfileError, PlanError)
"""Of a radio and what its bench was calibrated with; trying again does not cure it."""


class OwnRadio(Generic[R]):
    """A radio that is closed, and thereby muted, after each of its faults, and opened again.

    Attributes:
        turnaround_s: of the radio, when it was opened first.
    """

    def __init__(
        self, open_radio: Callable[[], Radio], dress: Dress[R], answer_s: float, rejoin_s: float
    ) -> None:
        """Open it.

        Args:
            open_radio: how.
            dress: what is used in its place, once it was opened and for what settings; closing
                that closes it.
            answer_s: in which the node has to have an answer; half of it goes into opening.
            rejoin_s: after which a radio that cannot be opened counts as lost.

        Raises:
            RadioError: it cannot be opened.
        """
        self._open, self._dress = open_radio, dress
        self._answer_s, self._rejoin_s = answer_s, rejoin_s
        self._radio: Radio | None = open_radio()
        self._dressed: R | None = None
        self._asked: RadioSettings | None = None
        self._gone_s: float | None = None
        self.turnaround_s = self._radio.caps.turnaround_s

    def ready(self, wanted: RadioSettings, patience_s: float | None = None) -> R:
        """The radio, open and with these settings.

        Args:
            wanted: settings.
            patience_s: in which one that went away is tried to be opened; else half of `answer_s`.

        Raises:
            RadioError: it refuses the settings, or cannot be opened with them yet.
            RadioGoneError: it could not for `rejoin_s`.
        """
        if self._radio is None:
            return self._reopened(wanted, self._answer_s / 2 if patience_s is None else patience_s)
        return self._set(self._radio, wanted)

    def close(self) -> None:
        """RF off, and what was still to be sent taken back."""
        radio, self._radio, self._asked, self._dressed = self._radio, None, None, None
        if radio is not None:
            try:
                radio.close()
            except RadioError as error:  # which is why it is closed
                _log.warning("radio, while it was closed: %s", error)

    def _reopened(self, wanted: RadioSettings, patience_s: float) -> R:
        began_s = time.monotonic()
        self._gone_s = began_s if self._gone_s is None else self._gone_s
        while True:
            try:
                self._radio = self._open()
                ready = self._set(self._radio, wanted)
            except RadioError as error:
                self.close()  # what broke while it was set up may do better when opened again
                now_s = time.monotonic()
                if now_s - self._gone_s > self._rejoin_s:
                    raise RadioGoneError(str(error)) from error
                if now_s - began_s >= patience_s:
                    raise
                time.sleep(AGAIN_S)
            else:
                self._gone_s = None
                return ready

    def _set(self, radio: Radio, wanted: RadioSettings) -> R:
        """The open radio, dressed and with these settings."""
        if self._asked != wanted:  # what came of it may differ: gains have steps
            radio.configure(wanted)
            self._asked = wanted
        if self._dressed is None:
            self._dressed = self._dress(radio, wanted)
        return self._dressed
