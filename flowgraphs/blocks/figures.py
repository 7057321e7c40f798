"""What a monitor shows, as figures in a folder: for machines without a display."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pmt
from gnuradio import gr
from matplotlib.figure import Figure

from flowgraphs.blocks.preamble_detector import TAG
from radio.api import IQ

BINS, ROWS = 512, 256
FLOOR_DB = -140.0
SPAN = 8192  # samples of the fit around a preamble
POINTS = 20  # preambles in the constellation
SIZE = (7.0, 4.2)
NAMES = ("spectrum", "waterfall", "constellation", "preamble")


class Figures(gr.sync_block):  # type: ignore[misc]
    """Keeps the last `seconds` of a stream, and draws four figures of it.

    In 0: complex64 samples. In 1: float32, the fit of a `PreambleDetector`, in step, with its tags.
    Port `constellation`: its PDUs. The figures spectrum.png, waterfall.png, constellation.png and
    preamble.png are written after each `seconds`, and at the end.
    """

    def __init__(self, folder: str, samp_rate: float, seconds: float) -> None:
        gr.sync_block.__init__(self, "Figures", [np.complex64, np.float32], [])
        self._folder, self._rate = Path(folder), samp_rate
        self._folder.mkdir(parents=True, exist_ok=True)
        self._length = max(BINS, round(seconds * samp_rate))
        self._iq: IQ = np.zeros(0, np.complex64)
        self._fit: npt.NDArray[np.float32] = np.zeros(0, np.float32)
        self._first = 0  # of what is kept, in the stream
        self._tags: deque[tuple[int, float]] = deque(maxlen=POINTS)
        self._points: deque[IQ] = deque(maxlen=POINTS)
        self._drawn = 0
        self.message_port_register_in(pmt.intern("constellation"))
        self.set_msg_handler(pmt.intern("constellation"), self._take)

    def work(self, input_items: Any, output_items: Any) -> int:
        """Keep what came in, and draw when it is time."""
        count, start = len(input_items[0]), self.nitems_read(0)
        for tag in self.get_tags_in_range(1, start, start + count, pmt.intern(TAG)):
            snr_db = pmt.dict_ref(tag.value, pmt.intern("snr_db"), pmt.from_double(0.0))
            self._tags.append((tag.offset, pmt.to_double(snr_db)))
        self._iq = np.concatenate([self._iq, input_items[0]])[-self._length :]
        self._fit = np.concatenate([self._fit, input_items[1]])[-self._length :]
        self._first = start + count - self._iq.size
        if start + count - self._drawn >= self._length:
            self._draw()
        return count

    def stop(self) -> bool:
        """Draw what came in since."""
        if self._first + self._iq.size > self._drawn and self._iq.size >= BINS:
            self._draw()
        return True

    def _take(self, message: Any) -> None:
        self._points.append(np.array(pmt.c32vector_elements(pmt.cdr(message)), np.complex64))

    def _draw(self) -> None:
        self._drawn = self._first + self._iq.size
        rows = max(1, min(ROWS, self._iq.size // BINS))
        step = (self._iq.size - BINS) // max(1, rows - 1)
        starts = step * np.arange(rows)
        pieces = self._iq[starts[:, None] + np.arange(BINS)] * np.hanning(BINS)
        power = np.abs(np.fft.fftshift(np.fft.fft(pieces, axis=1), axes=1)) ** 2
        power /= np.sum(np.hanning(BINS)) ** 2
        edge_khz = self._rate / 2e3
        for name in NAMES:
            figure = Figure(figsize=SIZE, layout="constrained")
            axes = figure.add_subplot()
            if name == "spectrum":
                levels = 10 * np.log10(power.mean(axis=0) + 10 ** (FLOOR_DB / 10))
                axes.plot(np.linspace(-edge_khz, edge_khz, BINS, endpoint=False), levels, lw=0.8)
                axes.set(xlabel="frequency [kHz]", ylabel="dBFS in a bin")
            elif name == "waterfall":
                levels = 10 * np.log10(power + 10 ** (FLOOR_DB / 10))
                heard = levels[power > 0]  # not the zeros that a detector begins with
                low, high = np.percentile(heard, (5, 99.9)) if heard.size else (FLOOR_DB, 0.0)
                times = (self._first / self._rate, self._drawn / self._rate)
                extent = (-edge_khz, edge_khz, times[1], times[0])
                axes.imshow(levels, aspect="auto", extent=extent, vmin=low, vmax=high)
                axes.set(xlabel="frequency [kHz]", ylabel="time [s]")
            elif name == "constellation":
                for points in self._points:
                    axes.plot(points.real, points.imag, ".", ms=2)
                axes.set(xlabel="I", ylabel="Q", xlim=(-2, 2), ylim=(-2, 2), aspect="equal")
                axes.set_title(f"carriers of the last {len(self._points)} preambles")
            else:
                self._draw_fit(axes)
            axes.grid(alpha=0.3)
            figure.savefig(self._folder / f"{name}.png", dpi=110)

    def _draw_fit(self, axes: Any) -> None:
        """Around the last preamble, or of what came last."""
        kept = [(at, snr_db) for at, snr_db in self._tags if at >= self._first]
        centre = kept[-1][0] - self._first if kept else self._fit.size
        low = int(max(0, min(centre - SPAN // 2, self._fit.size - SPAN)))
        fit = self._fit[low : low + SPAN]
        times_ms = 1e3 * (self._first + low + np.arange(fit.size)) / self._rate
        axes.plot(times_ms, fit, lw=0.8)
        for at, snr_db in kept:
            if low <= at - self._first < low + SPAN:
                axes.axvline(1e3 * at / self._rate, ls=":", color="C1")
                axes.annotate(f"{snr_db:.1f} dB", (1e3 * at / self._rate, 0.97), xytext=(4, 0),
                              textcoords="offset points")  # fmt: skip
        axes.set(xlabel="time [ms]", ylabel="fit of the preamble", ylim=(0, 1.05))
