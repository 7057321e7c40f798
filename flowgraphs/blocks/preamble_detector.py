"""The preamble detector: tags a stream where a preamble begins, and shows how well it fits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pmt
from gnuradio import gr

from radio.api import IQ
from radio.waveform.numerology import Numerology
from radio.waveform.preamble import Preamble
from radio.waveform.sync import Arrival, correlation, detect

HOP = 4096
TAG = "preamble"
ARRIVALS, CONSTELLATION = "arrivals", "constellation"


class PreambleDetector(gr.sync_block):  # type: ignore[misc]
    """Looks for preambles in a stream with `radio.waveform.sync.detect`.

    In: complex64. Out 0: the same, `delay` samples later, with a tag `preamble` on the sample that
    a preamble begins nearest to. Out 1: float32, how well it fits at each sample, 0 to 1, in step.
    Port `arrivals`: the tag's value with `sample`, the count of the input where it began. Port
    `constellation`: a PDU of the preamble's carriers, complex64 [used_carriers], as they were
    received at the mean gain and phase: four points, if the channel is flat.

    A tag's value is a dictionary: `start` (what its start is beyond the sample), `cfo_hz`, `phase`
    (rad, at its centre), `gain` and `snr_db`.

    The samples are worked on in hops of the least samples that hold a preamble twice, or `HOP`.
    """

    def __init__(
        self, numerology: Numerology, repeats: int = 8, seed: int = 0, max_cfo_hz: float = 50e3
    ) -> None:
        gr.sync_block.__init__(
            self, "Preamble detector", [np.complex64], [np.complex64, np.float32]
        )
        self._preamble = Preamble(numerology, repeats=repeats, seed=seed)
        self._max_cfo_hz = max_cfo_hz
        self._hop = max(HOP, 2 * self._preamble.length)
        self._cfo_hz = 0.0
        self._first = 0  # of the samples that wait, in the input
        self._waiting: IQ = np.zeros(0, np.complex64)
        # As many zeros as may wait: there is always enough to give out.
        self._iq: IQ = np.zeros(self.delay, np.complex64)
        self._fit: npt.NDArray[np.float32] = np.zeros(self.delay, np.float32)
        self._after = 0  # where another preamble may begin
        self.declare_sample_delay(self.delay)
        for port in (ARRIVALS, CONSTELLATION):
            self.message_port_register_out(pmt.intern(port))

    @property
    def delay(self) -> int:
        """Samples by which a hop and a whole preamble behind it are held back."""
        return self._hop + self._preamble.length

    def work(self, input_items: Any, output_items: Any) -> int:
        """All that came in, and as much of what waits."""
        taken = len(input_items[0])
        self._waiting = np.concatenate([self._waiting, input_items[0]])
        while self._waiting.size >= self.delay:
            self._look()
        output_items[0][:] = self._iq[:taken]
        output_items[1][:] = self._fit[:taken]
        self._iq, self._fit = self._iq[taken:], self._fit[taken:]
        return taken

    def _look(self) -> None:
        """At one hop: tag the preambles that begin in it, and pass it on."""
        hop = self._hop
        window = self._waiting[: self.delay]
        at = max(self._after - self._first, 0)
        while (arrival := self._detect(window[at:])) is not None:
            start = at + arrival.start
            sample = self._first + round(start)
            if round(start) >= hop:
                break  # and is found again in the next
            self._cfo_hz = arrival.cfo_hz
            self._tell(arrival, sample, start - round(start))
            # The next may not overlap; noise does not make two of one that begins between hops.
            self._after = sample + self._preamble.length - self._preamble.guard
            at = self._after - self._first
        fit = correlation(window, self._preamble, self._cfo_hz)
        self._iq = np.concatenate([self._iq, window[:hop]])
        self._fit = np.concatenate([self._fit, fit[:hop]])
        self._waiting = self._waiting[hop:]
        self._first += hop

    def _detect(self, iq: IQ) -> Arrival | None:
        return detect(iq, self._preamble, self._max_cfo_hz) if iq.size else None

    def _tell(self, arrival: Arrival, sample: int, rest: float) -> None:
        value = pmt.make_dict()
        for name, number in (
            ("start", rest),
            ("cfo_hz", arrival.cfo_hz),
            ("phase", arrival.phase),
            ("gain", arrival.gain),
            ("snr_db", 10 * float(np.log10(arrival.snr))),
        ):
            value = pmt.dict_add(value, pmt.intern(name), pmt.from_double(float(number)))
        for port in range(2):
            self.add_item_tag(port, self.delay + sample, pmt.intern(TAG), value)
        told = pmt.dict_add(value, pmt.intern("sample"), pmt.from_uint64(max(sample, 0)))
        self.message_port_pub(pmt.intern(ARRIVALS), told)
        mean = arrival.gain * np.exp(1j * arrival.phase)
        points = (self._preamble.values * arrival.channel / mean).astype(np.complex64)
        values = pmt.init_c32vector(points.size, points)
        self.message_port_pub(pmt.intern(CONSTELLATION), pmt.cons(pmt.PMT_NIL, values))
