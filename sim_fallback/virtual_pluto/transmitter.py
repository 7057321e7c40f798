"""The transmit side of a virtual PlutoSDR: a buffer while clients have it open, tones otherwise."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

from sim_fallback.codes import Samples
from sim_fallback.playback import Playback
from sim_fallback.virtual_pluto.dds import Tone, waveform
from sim_fallback.virtual_pluto.errors import IioError


class TxBuffer:
    """A transmit buffer.

    Attributes:
        blocks: kernel buffers.
        cyclic: whether one block is sent again and again.
        clients: how many have it open.
        end: of what was queued, on the transmit clock; None before the first block.
    """

    def __init__(self, blocks: int, cyclic: bool) -> None:
        self.blocks, self.cyclic = blocks, cyclic
        self.clients = 1
        self.end: int | None = None


class Transmitter:
    """What is sent, and when. Its caller keeps threads apart.

    Attributes:
        underflowed: whether a stream has run dry since this was last set to False.
    """

    def __init__(
        self, playback: Playback, latency_samples: Callable[[], int], tones: Sequence[Tone]
    ) -> None:
        """The transmit side of a radio.

        Args:
            playback: that puts samples on the air.
            latency_samples: draws how late a stream starts.
            tones: that play while there is no buffer.
        """
        self._playback, self._latency_samples = playback, latency_samples
        self._tones = tuple(tones)
        self._buffer: TxBuffer | None = None
        self.underflowed = False

    @property
    def is_open(self) -> bool:
        """Whether there is a buffer."""
        return self._buffer is not None

    @property
    def is_idle(self) -> bool:
        """Whether there is neither a buffer nor a tone."""
        return self._buffer is None and waveform(self._tones) is None

    def open(self, blocks: int, cyclic: bool) -> TxBuffer:
        """A buffer in place of the tones; IioError EBUSY beside, or as, a cyclic one."""
        if self._buffer is None:
            self._buffer = TxBuffer(blocks, cyclic)
            self._playback.cut()
        elif cyclic or self._buffer.cyclic:
            raise IioError(errno.EBUSY)
        else:
            self._buffer.clients += 1
        return self._buffer

    def push(self, buffer: TxBuffer, block: Samples) -> float:
        """Queue a block, int16 [n, 2], which must not be changed any more.

        Returns:
            True time at which there is room for another.

        Raises:
            IioError: EBUSY, the cyclic buffer plays already.
        """
        if buffer.cyclic and buffer.end is not None:
            raise IioError(errno.EBUSY)
        self.note_underflow()
        now = self._playback.now()
        start = buffer.end
        if start is None or start <= now:
            start = now + self._latency_samples()
        self._playback.play(block, start, buffer.cyclic)
        buffer.end = start + len(block)
        room = now if buffer.cyclic else buffer.end - (buffer.blocks - 1) * len(block)
        return self._playback.true_time_s(room)

    def close(self, buffer: TxBuffer) -> None:
        """When the last client goes, what is queued is dropped and the tones are back."""
        buffer.clients -= 1
        if buffer.clients == 0:
            self.note_underflow()
            self._buffer = None
            self.play(self._tones)

    def note_underflow(self) -> None:
        """See whether the stream has run dry."""
        buffer = self._buffer
        if buffer is not None and not buffer.cyclic and buffer.end is not None:
            self.underflowed |= buffer.end < self._playback.now()

    def play(self, tones: Sequence[Tone]) -> None:
        """Other tones, which sound as soon as there is no buffer."""
        self._tones = tuple(tones)
        if self._buffer is None:
            self._playback.cut()
            wave = waveform(self._tones)
            if wave is not None:
                self._playback.play(wave, self._playback.now(), cyclic=True)

    def moved(self, samples: int) -> None:
        """The transmit clock counts from elsewhere: what was queued ends so many samples later."""
        if self._buffer is not None and self._buffer.end is not None:
            self._buffer.end += samples
