"""Radios that are left as they were found, however it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from radio.api import Radio, RadioError, RadioSettings


@contextmanager
def as_found(radios: Sequence[Radio], sent_until: Callable[[], int | None]) -> Iterator[None]:
    """Give radios back their settings when this ends.

    Args:
        radios: open; the first one sends.
        sent_until: end of its last burst, on its own clock, None without any. What is still on
            the air then keeps the gain it was sent with.

    Raises:
        RadioError: a radio refuses that, or is lost. Where an error ends this, the refusal is a
            note to it.
    """
    found = [(radio, radio.settings) for radio in radios]
    try:
        yield
    except BaseException as error:
        for refusal in _restored(found, sent_until()):
            error.add_note(f"a radio was not left as it was found: {refusal}")
        raise
    for refusal in _restored(found, sent_until()):
        raise refusal


def _restored(found: list[tuple[Radio, RadioSettings]], end: int | None) -> list[RadioError]:
    """Restore all that can be restored; what the others say."""
    refusals = []
    for radio, settings in found:
        try:
            while end is not None and (left := end - radio.now()) > 0:
                radio.receive(left)
            if radio.settings != settings:
                radio.configure(settings)
        except RadioError as error:
            refusals.append(error)
        end = None  # of the first one's bursts
    return refusals
