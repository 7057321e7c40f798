"""Spectra for people: in the terminal, and as a figure in the style of the reports."""

from __future__ import annotations

import numpy as np
from rich.text import Text

from radio.api import RadioSettings
from testbed.lab.levels import Levels, dbfs_text
from testbed.lab.spectrum import Spectrum
from testbed.report.budget import decibels
from testbed.report.style import MUTED, SCHEMES, WIDE, WORST, canvas, png

BLOCKS = " ▁▂▃▄▅▆▇█"
HEIGHT = 16  # rows of a spectrum in the terminal
LABEL = 6  # columns of the level beside it
STEP_DB = 20.0  # so that every fourth row has a round number
MARGIN_DB = 5.0  # below the floor
SPAN_DB = (40.0, 160.0)  # from the bottom to full scale, at least and at most


def render(spectrum: Spectrum, settings: RadioSettings, levels: Levels, width: int) -> Text:
    """The spectrum, drawn so many columns wide, above the figures that one reads off it."""
    columns = max(1, width - LABEL - 1)
    edges = np.linspace(0, spectrum.power.size, columns + 1)[:-1].astype(int)
    highest = decibels(np.maximum.reduceat(spectrum.power, edges))
    low = bottom_db(spectrum)
    rows = -low / HEIGHT
    text = Text(no_wrap=True)
    for row in range(HEIGHT):
        top = low / HEIGHT * row
        label = f"{top + 0.0:{LABEL - 1}.0f} " if row % 4 == 0 else " " * LABEL
        eighths = np.clip(np.ceil(8 * (highest - top + rows) / rows), 0, 8).astype(int)
        text.append(label.replace("-", "−") + "│", style="dim")
        text.append("".join(BLOCKS[k] for k in eighths) + "\n", style="cyan")
    half = settings.sample_rate_hz / 2e3
    ends = f"{-half:,.5g}".replace("-", "−"), f"{half:+,.5g} kHz"
    axis = f"{ends[0]}{'0':^{max(1, columns - len(ends[0]) - len(ends[1]))}}{ends[1]}"
    text.append(" " * (LABEL + 1) + axis + "\n", style="dim")
    text.append("\n".join(legend(spectrum, settings)) + "\n")
    text.append(str(levels), style="red" if levels.clipped or levels.lost else "")
    return text


def legend(spectrum: Spectrum, settings: RadioSettings) -> tuple[str, str, str]:
    """What it is a spectrum of, its peak, its floor."""
    offset_hz, power = spectrum.peak
    peak = f"peak beside DC {dbfs_text(power)}"
    if power:
        absolute = f"{(settings.carrier_hz + offset_hz) / 1e6:,.6f} MHz"
        peak += f" at {offset_hz / 1e3:+,.3f} kHz, {absolute}".replace("-", "−")
    floor = f"floor {dbfs_text(spectrum.floor)} in {spectrum.resolution_hz:.0f} Hz"
    if spectrum.floor:
        floor += f" ({dbfs_text(spectrum.floor / spectrum.resolution_hz)}/Hz)"
    rate = f"{settings.sample_rate_hz / 1e6:g} MS/s"
    gain = f"gain {settings.rx_gain_db:g} dB".replace("-", "−")
    return f"{settings.carrier_hz / 1e6:,.6f} MHz, {rate}, {gain}", peak, floor


def bottom_db(spectrum: Spectrum) -> float:
    """Lowest level that is shown, below the floor, a multiple of `STEP_DB`."""
    floor = float(decibels(spectrum.floor))
    low, high = SPAN_DB
    return -float(np.clip(STEP_DB * np.ceil((MARGIN_DB - floor) / STEP_DB), low, high))


def figure(spectrum: Spectrum, settings: RadioSettings) -> bytes:
    """The spectrum as PNG."""
    khz = spectrum.offset_hz / 1e3
    offset_hz, power = spectrum.peak
    low = bottom_db(spectrum)
    first, *others = legend(spectrum, settings)
    with canvas(WIDE) as drawn:
        axes = drawn.add_subplot()
        level = np.maximum(decibels(spectrum.power), low - MARGIN_DB)
        axes.plot(khz, level, color=SCHEMES["air"][1], linewidth=1.1)
        axes.axhline(float(decibels(spectrum.floor)), color=MUTED, lw=0.9, ls=(0, (5, 3)))
        if power:
            axes.plot([offset_hz / 1e3], [float(decibels(power))], "v", ms=6, color=WORST)
        axes.set(
            title="\n".join((first, ", ".join(others))),
            xlabel=f"frequency from {settings.carrier_hz / 1e6:,.6f} MHz (kHz)",
            ylabel=f"dBFS in {spectrum.resolution_hz:.0f} Hz",
            xlim=(khz[0], khz[-1]),
            ylim=(low, 5.0),
        )
        return png(drawn)
