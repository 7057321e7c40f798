"""Figures of one round as its samples tell it: timeline, spectrum, symbols, beacons."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import ConnectionPatch
from scipy import signal

from testbed.report.air import KINDS, Snapshot
from testbed.report.budget import decibels
from testbed.report.device_plots import at_least, draw_channels, draw_phases, each_device
from testbed.report.load import Column
from testbed.report.style import MUTED, NARROW, PARTS, SCHEMES, WIDE, Chart, canvas, png

BLUE = SCHEMES["air"][1]
SPAN_COLORS = dict(zip(KINDS, (PARTS[0], PARTS[3], PARTS[2], "#d9dce1", PARTS[1]), strict=True))
LANES = {"beacon": 0, "sync": 0, "sounding": 1, "control": 1, "burst": 1}
MOST_SLOT_NAMES = 16
BINS = 16  # of an error over time or carriers
ZOOM = 12  # samples on each side of a correlation peak


def draw_round(snapshot: Snapshot) -> list[Chart]:
    """Every figure this round has data for, in the order of the report."""
    drawn = [
        _timeline(snapshot),
        _spectrum(snapshot),
        draw_phases(snapshot),
        _symbols(snapshot),
        _correlation(snapshot),
        draw_channels(snapshot),
    ]
    return [chart for chart in drawn if chart is not None]


def _timeline(snapshot: Snapshot) -> Chart:
    captures = {
        "sounding": (snapshot["sounding_iq"], int(snapshot["sounding_start"])),
        "burst": (snapshot["burst_iq"], int(snapshot["burst_start"])),
    }
    with canvas((WIDE[0], 4.3)) as figure:
        grid = figure.add_gridspec(2, 2, height_ratios=(0.62, 2.0), hspace=0.12)
        strip = figure.add_subplot(grid[0, :])
        sounded, sent = figure.add_subplot(grid[1, 0]), figure.add_subplot(grid[1, 1])
        _strip(strip, snapshot)
        images, tops = [], []
        for axes, (iq, start) in zip((sounded, sent), captures.values(), strict=True):
            begin, end = (1e3 * at / snapshot.rate_hz for at in (start, start + iq.size))
            image, loudest = _spectrogram(axes, iq, begin, snapshot.rate_hz)
            images.append(image)
            tops.append(loudest)
            _magnify(figure, strip, axes, begin, end)
        for image in images:
            image.set_clim(max(tops) - 60, max(tops))
        sounded.set_ylabel("frequency (kHz)")
        _slots(sounded, snapshot)
        _burst_parts(sent, snapshot)
        bar = figure.colorbar(images[0], ax=(sounded, sent), pad=0.01, aspect=25)
        bar.set_label("dBFS per kHz")
        bar.outline.set_visible(False)
        caption = (
            "Above: who sends when; between sounding and burst the grants travel. Below: what the "
            "receiver sampled of it; numbers name the devices of the slots. Healthy: every device "
            "fills its slot, evenly over all carriers unless its channel has several paths, and "
            "the burst fills its picture. Sick: an empty slot, a vertical stripe (an interferer's "
            "pulse, an overload), a horizontal one (a foreign carrier), a burst that is shifted."
        )
        return Chart(
            "round_timeline", "The round in time and frequency", caption, png(figure), True
        )


def _strip(axes: Axes, snapshot: Snapshot) -> None:
    named: set[str] = set()
    for kind, start, length in snapshot.spans:
        color = SPAN_COLORS[kind]
        axes.broken_barh(
            [(start, length)],
            (LANES[kind] - 0.4, 0.8),
            facecolor=color,
            edgecolor=color,
            linewidth=0.0 if kind == "control" else 0.8,  # so short ones are still seen
            label=None if kind in named else kind,
        )
        named.add(kind)
    end = snapshot.lasted_ms
    axes.set_yticks((0, 1), ("receiver sends", "devices send"))
    axes.set(xlim=(-0.005 * end, 1.005 * end), ylim=(1.5, -0.5))
    axes.grid(axis="y", visible=False)
    axes.xaxis.tick_top()
    axes.xaxis.set_major_formatter("{x:g} ms")
    axes.tick_params(length=0)
    axes.spines["bottom"].set_visible(False)
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.3), ncols=len(KINDS), borderaxespad=0)


def _spectrogram(
    axes: Axes, iq: npt.NDArray[Any], begin: float, rate_hz: float
) -> tuple[AxesImage, float]:
    """Power over time and frequency, and the largest of it; `begin` in ms."""
    size = min(256, iq.size)
    hop = max(1, min(64, iq.size // 300))
    window = signal.ShortTimeFFT(
        np.hanning(size), hop, rate_hz, fft_mode="centered", scale_to="psd"
    )
    power = window.spectrogram(iq.astype(np.complex128), p0=0, p1=-(-iq.size // hop))
    half = rate_hz / 2e3
    end = begin + 1e3 * iq.size / rate_hz
    level = decibels(1e3 * power)
    image = axes.imshow(
        level,
        origin="lower",
        aspect="auto",
        cmap="viridis",
        interpolation="antialiased",
        extent=(begin, end, -half, half),
    )
    axes.set_xlabel("ms from the round's start")
    axes.grid(visible=False)
    return image, float(level.max())


def _magnify(figure: Figure, strip: Axes, panel: Axes, begin: float, end: float) -> None:
    """Lines from a stretch of the strip to the panel that shows it."""
    for at, corner in ((begin, 0.0), (end, 1.0)):
        line = ConnectionPatch(
            (at, 1.4), (corner, 1.0), strip.transData, panel.transAxes, color=MUTED, linewidth=0.8
        )
        line.set_in_layout(False)
        figure.add_artist(line)


def _slots(axes: Axes, snapshot: Snapshot) -> None:
    """Names the devices of the slots, or every n-th of many."""
    slots = [start + length / 2 for kind, start, length in snapshot.spans if kind == "sounding"]
    step = -(-len(slots) // MOST_SLOT_NAMES)
    for at, device in list(zip(slots, snapshot["devices"], strict=False))[::step]:
        _inside(axes, at, str(device))


def _burst_parts(axes: Axes, snapshot: Snapshot) -> None:
    layout = snapshot.layout
    middle = snapshot["burst_start"] + layout.length / 2
    text = f"pilots, {layout.data_symbols} symbols of data, pilots"
    _inside(axes, float(1e3 * middle / snapshot.rate_hz), text)


def _inside(axes: Axes, at: float, text: str) -> None:
    """A label in the empty band above the carriers; `at` in ms."""
    label = axes.text(at, 0.945, text, transform=axes.get_xaxis_transform(), clip_on=True)
    label.set(color="white", fontsize=8.0, fontweight="bold", ha="center", va="center")
    label.set_in_layout(False)


def _spectrum(snapshot: Snapshot) -> Chart:
    numerology, iq = snapshot.layout.numerology, snapshot["burst_iq"]
    size = min(1024, iq.size)
    frequency, density = signal.welch(
        iq.astype(np.complex128), snapshot.rate_hz, "hann", size, return_onesided=False
    )
    order = np.argsort(frequency)
    khz, level = frequency[order] / 1e3, decibels(1e3 * density[order])
    edge = (snapshot["carriers"].max() + 0.5) * numerology.carrier_spacing_hz / 1e3
    used = (np.abs(khz) < edge) & (np.abs(khz) > 2e-3 * numerology.carrier_spacing_hz)
    beside = np.abs(khz) > edge + 4e-3 * numerology.carrier_spacing_hz
    with canvas(NARROW) as figure:
        axes = figure.add_subplot()
        axes.axvspan(-edge, edge, color=BLUE, alpha=0.08, linewidth=0)
        axes.plot(khz, level, color=BLUE, linewidth=1.1)
        for part in (used, beside):
            axes.axhline(np.median(level[part]), color=MUTED, linewidth=0.9, ls=(0, (5, 3)))
        axes.set(
            xlabel="frequency from the carrier (kHz)",
            ylabel="dBFS per kHz",
            xlim=(khz[0], khz[-1]),
        )
        power, peak = np.mean(np.abs(iq) ** 2), np.max(np.abs(iq)) ** 2
        inside, outside = np.median(level[used]), np.median(level[beside])
        caption = (
            f"The burst, with its used carriers shaded. Power {_db(power)} dBFS, peak {_db(peak)} "
            f"dBFS; {inside - outside:.0f} dB between carriers and the empty edges (medians, "
            "dashed). Healthy: a flat top, steep sides, even edges, peaks below full scale. Sick: "
            "raised shoulders (clipping or a driven amplifier), a spike in the middle (LO leakage) "
            "or elsewhere (an interferer), notches common to all devices."
        )
        return Chart("round_spectrum", "Spectrum of the burst", caption, png(figure))


def _symbols(snapshot: Snapshot) -> Chart | None:
    """Received against clean symbols, and where in the burst they differ."""
    clean, received, layout = snapshot["clean"], snapshot["received"], snapshot.layout
    if clean.size == 0:
        return None
    places = layout.order[: clean.size]
    rows, columns = np.divmod(places, layout.numerology.used_carriers)
    symbol_ms = 1e3 * layout.numerology.symbol_length / snapshot.rate_hz
    at_ms = (layout.data_rows.start + rows + 0.5) * symbol_ms
    carrier = snapshot["carriers"][columns]
    power = float(np.mean(np.abs(clean) ** 2)) or 1.0
    error = np.abs(received - clean) ** 2 / power
    std = float(np.sqrt(np.mean(error) * power / 2))
    with canvas(WIDE) as figure:
        cloud, over_time, over_carriers = figure.subplots(1, 3, width_ratios=(1.15, 1, 1))
        wanted = np.concatenate([clean.real, clean.imag])
        got = np.concatenate([received.real, received.imag])
        limit = 1.05 * float(np.max(np.abs([wanted, got])))
        ends = np.array([-limit, limit])
        cloud.scatter(wanted, got, s=3, color=BLUE, alpha=0.2, linewidth=0)
        cloud.plot(ends, ends, color="#111111", linewidth=1.0)
        cloud.set(
            title="Real and imaginary parts",
            xlabel="as it should have been",
            ylabel="as received",
            xlim=ends,
            ylim=ends,
        )
        for axes, x in ((over_time, at_ms), (over_carriers, carrier)):
            middle, level = _binned(x.astype(np.float64), error)
            axes.plot(middle, decibels(level), color=BLUE, marker="o", ms=4)
            axes.axhline(
                decibels(np.mean(error)), color=MUTED, linewidth=1.0, ls=(0, (5, 3)), zorder=1
            )
        over_time.set(
            title="Error over the burst",
            xlabel="ms from the burst's start",
            ylabel="error against the symbols (dB)",
        )
        over_carriers.set(title="Error over the band", xlabel="carrier")
        ends_db = [axes.get_ylim() for axes in (over_time, over_carriers)]
        for axes in (over_time, over_carriers):
            axes.set_ylim(min(low for low, _ in ends_db), max(high for _, high in ends_db))
            at_least(axes, 8.0)
        caption = (
            "Symbols are analog, so each is compared with the clean superposition it should have "
            f"been. Residual: {std:.3f} RMS in each part, {_db(1 / max(np.mean(error), 1e-30))} dB "
            "below the symbols (dashed). Healthy: a thin cloud on the diagonal, an error that is "
            "even over time and band. Sick: another slope (gains misjudged), bent ends (clipping), "
            "an error that grows over the burst (drift) or towards the band's edges (timing), one "
            "beside the middle (LO leakage of devices, off by their carrier offsets), or one at "
            "single moments or carriers (interference, faded paths)."
        )
        return Chart("round_symbols", "Symbols, received and clean", caption, png(figure), True)


def _binned(x: Column, values: Column) -> tuple[Column, Column]:
    """Means of x and of the values in groups of equal size, ordered by x."""
    groups = [group for group in np.array_split(np.argsort(x, kind="stable"), BINS) if group.size]
    return (
        np.array([x[group].mean() for group in groups]),
        np.array([values[group].mean() for group in groups]),
    )


def _correlation(snapshot: Snapshot) -> Chart:
    traces, fits = snapshot["beacon_correlation"], snapshot.fits
    searched = np.flatnonzero(traces.any(axis=0))
    traces = traces[:, : searched[-1] + 1 if searched.size else None]  # the rest is all zero
    offsets = [np.arange(traces.shape[1], dtype=np.float64) - peak for peak in snapshot.peaks]
    names = [f"{snapshot.name(i)}, the poorest fit" for i in range(len(traces))]
    with canvas(WIDE) as figure:
        whole, zoom = figure.subplots(1, 2, width_ratios=(1.5, 1))
        for axes in (whole, zoom):
            each_device(axes, names, offsets, list(traces), int(np.argmin(fits)))
            axes.set(xlabel="samples from the peak", ylim=(0, 1.02))
        whole.set(ylabel="correlation")
        zoom.set(xlim=(-ZOOM, ZOOM))
        for line in zoom.lines:
            line.set(marker="o", markersize=2.5)
        whole.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
        caption = (
            "Each device's search for the first beacon, aligned at its peak. A path between two "
            "samples, or several paths, share the peak; together, a fit of 1 is a beacon without "
            f"noise. Fits: {fits.min():.3f} to {fits.max():.3f}. Healthy: one peak, with lower "
            "copies a period apart (the beacon repeats). Sick: a low peak (weak signal, strong "
            "interference), peaks many samples apart (long echoes), none (not in range)."
        )
        title = "Beacon as the devices hear it"
        return Chart("round_correlation", title, caption, png(figure), True)


def _db(power: float) -> str:
    return f"{10 * np.log10(max(power, 1e-30)):.1f}".replace("-", "−")
