"""Figures of one round that have a line for every device: channels and phases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from testbed.report.air import Snapshot, signed
from testbed.report.load import Column
from testbed.report.style import NARROW, SCHEMES, WIDE, WORST, Chart, canvas, png

BLUE = SCHEMES["air"][1]


def each_device(
    axes: Axes, names: Sequence[str], x: Sequence[Column], y: Sequence[Column], worst: int
) -> None:
    """A line for each device; all muted but the worst, given by its place."""
    rest = [i for i in range(len(y)) if i != worst]
    for place, i in enumerate(rest):
        label = f"{len(rest)} other devices" if place == 0 else None
        axes.plot(x[i], y[i], color=BLUE, alpha=0.35, linewidth=0.9, label=label)
    axes.plot(x[worst], y[worst], color=WORST, linewidth=1.6, label=names[worst])


def draw_phases(snapshot: Snapshot) -> Chart | None:
    """By what each device is off in phase during the first burst."""
    heard = snapshot.heard
    if not heard.size:
        return None
    layout, turns = snapshot.layout, snapshot["turns"]
    symbol_ms = 1e3 * layout.numerology.symbol_length / snapshot.rate_hz
    rows = np.arange(layout.num_symbols)
    pilots = np.degrees(np.angle(snapshot["pilots"]))
    rms = snapshot.phase_errors[heard]
    worst = int(heard[np.argmax(rms)])
    with canvas(NARROW) as figure:
        axes = figure.add_subplot()
        axes.axhline(0.0, color="#b8bcc4", linewidth=0.9)
        for i in heard:
            color, width, alpha = (WORST, 1.6, 1.0) if i == worst else (BLUE, 0.9, 0.45)
            style: dict[str, Any] = {"color": color, "alpha": alpha}
            style["zorder"] = 3 if i == worst else 2
            if turns.size:
                at = (rows[layout.data_rows] + 0.5) * symbol_ms
                axes.plot(at, np.degrees(turns[i]), linewidth=width, **style)
            at = (rows[layout.pilot_rows] + 0.5) * symbol_ms
            axes.plot(at, pilots[:, i], "o", ms=4, markeredgewidth=0, **style)
        axes.set(xlabel="ms from the burst's start", ylabel="phase error (degrees)")
        axes.plot(
            [], [], color=WORST, marker="o", ms=4, label=f"{snapshot.name(worst)}, furthest off"
        )
        axes.plot([], [], color=BLUE, marker="o", ms=4, label=f"{heard.size - 1} other devices")
        figure.legend(loc="outside lower center", ncols=2)
        lines = "Lines: the true error, known here. " if turns.size else ""
        caption = (
            f"{lines}Dots: as the receiver measures it on the pilots, with their noise. Largest: "
            f"{rms.max():.1f}° RMS; 1° costs −35 dB, 5° −21 dB. Healthy: flat, within a few "
            "degrees. Sick: lines that fan out (frequency not tracked: drift), that start apart "
            "(phase was wrong at the burst's start), dots far from lines (weak pilots)."
        )
        return Chart("round_phases", "Phase of the devices in the burst", caption, png(figure))


def draw_channels(snapshot: Snapshot) -> Chart | None:
    """Channels as estimated from the sounding."""
    heard = snapshot.heard
    if not heard.size:
        return None
    carriers = snapshot["carriers"]
    channels = snapshot["channels"][heard].astype(np.complex128)
    weakest = int(np.argmin(snapshot["snr_db"][heard]))
    names = [f"{snapshot.name(int(i))}, the weakest" for i in heard]
    gain = 20 * np.log10(np.maximum(np.abs(channels), 1e-15))
    phase = np.unwrap(np.angle(channels), axis=1)
    phase = np.degrees(phase - phase[:, [carriers.size // 2]])
    x = [np.where(carriers == 0, np.nan, carriers).astype(float)] * heard.size
    with canvas(WIDE) as figure:
        gains, phases = figure.subplots(1, 2)
        each_device(gains, names, x, list(gain), weakest)
        each_device(phases, names, x, list(phase), weakest)
        gains.set(xlabel="carrier", ylabel="|H| (dB)")
        at_least(gains, 12.0)
        phases.set(xlabel="carrier", ylabel="phase (degrees, 0 at the middle)")
        phases.yaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 1.5, 3, 4.5, 6, 9, 10]))
        at_least(phases, 90.0)
        gains.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
        delays = snapshot["delays"][heard]
        silent = len(snapshot["heard"]) - heard.size
        missing = f" {silent} not heard and left out." if silent else ""
        caption = (
            "Each device's channel from its sounding; it is what the device then undoes. SNR of "
            f"the pilots {snapshot['snr_db'][heard].min():.0f} to "
            f"{snapshot['snr_db'][heard].max():.0f} dB, delays {signed(delays.min())} to "
            f"{signed(delays.max())} samples.{missing} Healthy: smooth; flat for a single path, "
            "gently waved for several; phases level. Sick: ragged (too little SNR), notches of "
            "10 dB and more (power is lost to invert them), steep phases (a device out of time: "
            "a turn over the band is a sample and a quarter)."
        )
        return Chart("round_channels", "Channels of the devices", caption, png(figure), True)


def at_least(axes: Axes, height: float) -> None:
    """A y axis that does not blow up what is nearly flat."""
    low, high = axes.get_ylim()
    if high - low < height:
        middle = (low + high) / 2
        axes.set_ylim(middle - height / 2, middle + height / 2)
