"""`airmeta radio`: find radios, look at one, let it send or hear."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.live import Live
from rich.table import Table

from fl_core.errors import InputError
from radio.api import Radio, RadioError, RadioSettings, Range
from radio.discovery import find_radios
from radio.registry import open_radio
from radio.sigmf import META_SUFFIX
from testbed.lab.levels import Levels, dbfs
from testbed.lab.limits import stated_limits
from testbed.lab.listening import fresh, record, recording_place
from testbed.lab.spectrum import Spectrum
from testbed.lab.spectrum_view import figure, render
from testbed.lab.tone import Tone, send
from testbed.options import Carrier, Json, Rate
from testbed.runs import stop_after_round
from testbed.terminal import STOPPED, console, messages, print_json

QUIET_DB = -40.0  # transmit gain of a tone unless another is stated
MUTED_DB = -120.0  # below which a tone is none
LOOK_S = 0.1
MOST_S = 3600.0  # of a tone or a recording
MOST_SAMPLES = 1 << 24  # of a spectrum

radio_app = typer.Typer(help="Radios by themselves.", no_args_is_help=True)

Uri = Annotated[str, typer.Argument(metavar="URI", help="The radio, as `pluto://usb:1.5.5`.")]
ReceiveGain = Annotated[
    float | None, typer.Option("--gain-db", help="Receive gain; default as the radio has it.")
]


@radio_app.command(name="list", epilog="Example: `airmeta radio list`")
def list_radios(
    uris: Annotated[
        list[str] | None,
        typer.Argument(metavar="[URI]...", help="Ask only these, as `pluto://ip:192.168.2.1`."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Find the radios that are connected, with the URI that opens each."""
    search = find_radios(uris or [])
    if as_json:
        print_json(asdict(search))
    else:
        for found in search.found:
            _print_facts(found.uri, found.about)
        if not search.found:
            messages.print("no radio was found", style="yellow")
            for line in search.advice:
                messages.print(f"  {line}", markup=False, highlight=False)
        for gap in search.gaps:
            messages.print(f"{gap.place}: {gap.why}", style="yellow", markup=False)
            messages.print(f"  {gap.remedy}", markup=False, highlight=False)
    if uris and len(search.found) < len(uris):
        raise typer.Exit(1)


@radio_app.command(epilog="Example: `airmeta radio info pluto://usb:1.5.5`")
def info(uri: Uri, as_json: Json = False) -> None:
    """Show what a radio can do, how it is set, and what it tells of itself."""
    with stop_after_round(), open_radio(uri) as radio:
        caps, settings, about = radio.caps, radio.settings, dict(radio.describe())
    if as_json:
        print_json({"uri": uri, "caps": asdict(caps), "settings": asdict(settings), "about": about})
        return
    can = [
        "receives",
        *(["sends"] if caps.can_transmit else []),
        *(["both at once"] if caps.full_duplex else []),
        *(["keeps times to the sample"] if caps.timed else []),
    ]
    facts = {
        "radio": caps.name,
        "can": ", ".join(can),
        "converters": f"{caps.bits} bits",
        "longest burst": f"{caps.max_burst:,} samples",
        "turnaround": f"{1e3 * caps.turnaround_s:.1f} ms",
    }
    _print_facts(uri, facts | about)
    table = Table("setting", box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for title in ("now", "range"):
        table.add_column(title, justify="right")
    for name, value in asdict(settings).items():
        span: Range = getattr(caps, name)
        table.add_row(name, f"{value:,.10g}", f"{span.low:,.10g} to {span.high:,.10g}")
    console.print(table)


@radio_app.command(
    epilog="Example: `airmeta radio tone pluto://usb:1.5.5 --hz 100e3 --band 902e6:928e6`"
)
def tone(
    uri: Uri,
    hz: Annotated[float, typer.Option(help="Frequency of the tone, from the carrier.")] = 100e3,
    level_db: Annotated[float, typer.Option(help="Power of the tone, from full scale.")] = -12.0,
    seconds: Annotated[float, typer.Option(help="How long; Ctrl-C ends it sooner.")] = 10.0,
    carrier_hz: Carrier = None,
    rate_hz: Rate = None,
    gain_db: Annotated[float, typer.Option(help="Transmit gain.")] = QUIET_DB,
    band: Annotated[
        str | None, typer.Option(metavar="LOW:HIGH", help="The band that you may use, in Hz.")
    ] = None,
    bench: Annotated[
        str | None, typer.Option(metavar="BENCH", help="Or the bench whose limits hold.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Send a tone, within limits. What the law and the next receiver bear is yours to know."""
    _require_seconds(seconds)
    if not MUTED_DB <= level_db <= 0:
        raise InputError(f"--level-db {level_db:g}: should be {MUTED_DB:g} to 0")
    limits = stated_limits(band, bench, gain_db, seconds)
    with stop_after_round() as stop, open_radio(uri, limits) as radio:
        if not radio.caps.can_transmit:
            raise RadioError(f"{radio.caps.name} only receives; open a radio that can transmit")
        settings = _configure(
            radio, carrier_hz=carrier_hz, sample_rate_hz=rate_hz, tx_gain_db=gain_db
        )
        rate = settings.sample_rate_hz
        if not abs(hz) < rate / 2:
            raise InputError(f"--hz {hz:g}: should be within half of the {rate:g} Hz sample rate")
        n = max(1, math.floor(seconds * rate))
        limits.require_airtime([(0, n)], rate)
        where = f"{(settings.carrier_hz + hz) / 1e6:,.6f} MHz"
        messages.print(f"{where}: {seconds:g} s of a tone; Ctrl-C ends it", highlight=False)
        sent = send(radio, Tone(hz, level_db), n, stop)
    if as_json:
        print_json(asdict(sent) | {"mean_dbfs": level_db, "settings": asdict(settings)})
    else:
        console.print(
            f"{where}: {sent.samples / rate:.2f} s at {level_db:g} dBFS and gain "
            f"{sent.applied_gain_db:g} dB, together {level_db + sent.applied_gain_db:g} dB; "
            f"{sent.clipped:,} samples clipped",
            highlight=False,
            soft_wrap=True,
        )
    if stop():
        raise typer.Exit(STOPPED)


@radio_app.command(
    epilog="Example: `airmeta radio capture pluto://usb:1.5.5 --seconds 2 --gain-db 30 --to noise`"
)
def capture(
    uri: Uri,
    to: Annotated[Path, typer.Option(metavar="PATH", help="Recording to write, without suffix.")],
    seconds: Annotated[float | None, typer.Option(help="How long; default 1.")] = None,
    samples: Annotated[int | None, typer.Option("-n", help="Or how many samples.")] = None,
    carrier_hz: Carrier = None,
    rate_hz: Rate = None,
    gain_db: ReceiveGain = None,
    as_json: Json = False,
) -> None:
    """Record what a radio hears as SigMF; Ctrl-C ends it sooner."""
    if seconds is not None and samples is not None:
        raise InputError("--seconds and -n say the same; give one of them")
    _require_seconds(1.0 if seconds is None else seconds)
    if samples is not None and samples < 1:
        raise InputError(f"-n {samples}: should be 1 or more")
    base = recording_place(to)
    with stop_after_round() as stop, open_radio(uri) as radio:
        settings = _configure(
            radio, carrier_hz=carrier_hz, sample_rate_hz=rate_hz, rx_gain_db=gain_db
        )
        if samples is None:
            samples = max(1, round((1.0 if seconds is None else seconds) * settings.sample_rate_hz))
        with messages.status("recording; Ctrl-C ends it"):
            levels = record(radio, base, samples, stop)
    meta = f"{base}{META_SUFFIX}"
    if as_json:
        print_json({"recording": meta, "settings": asdict(settings)} | levels.as_dict())
    else:
        console.print(f"{meta}: {levels.samples:,} samples", soft_wrap=True, highlight=False)
        console.print(str(levels), soft_wrap=True, highlight=False)
    if levels.samples < samples:
        raise typer.Exit(STOPPED)


@radio_app.command(
    epilog="Example: `airmeta radio spectrum pluto://usb:1.5.5 --carrier-hz 915e6 --gain-db 40`"
)
def spectrum(
    uri: Uri,
    once: Annotated[bool, typer.Option("--once", help="Show it once, not live.")] = False,
    to_png: Annotated[
        Path | None, typer.Option("--png", metavar="FILE", help="Write it as a figure too, once.")
    ] = None,
    bins: Annotated[int, typer.Option(help="Frequencies.")] = 1024,
    samples: Annotated[int, typer.Option("-n", help="Samples of one picture.")] = 1 << 16,
    carrier_hz: Carrier = None,
    rate_hz: Rate = None,
    gain_db: ReceiveGain = None,
    as_json: Json = False,
) -> None:
    """Show the spectrum of what a radio hears, live until Ctrl-C."""
    if not 16 <= bins <= samples <= MOST_SAMPLES:
        raise InputError(
            f"--bins {bins} of -n {samples} samples: should be 16 or more, and no more than the "
            f"samples, of which there are {MOST_SAMPLES} at most"
        )
    if to_png is not None and not to_png.parent.is_dir():
        raise InputError(f"{to_png.parent}: there is no such folder")
    live = console.is_terminal and not (once or as_json or to_png)
    with stop_after_round() as stop, open_radio(uri) as radio:
        _configure(radio, carrier_hz=carrier_hz, sample_rate_hz=rate_hz, rx_gain_db=gain_db)
        if live:
            with Live(console=console, auto_refresh=False) as screen:
                while not stop():
                    screen.update(render(*_look(radio, samples, bins), console.width), refresh=True)
                    time.sleep(LOOK_S)
            return
        seen, settings, levels = _look(radio, samples, bins)
    if to_png is not None:
        try:
            to_png.write_bytes(figure(seen, settings))
        except OSError as error:
            raise InputError(f"{to_png}: cannot be written ({error.strerror})") from error
    if as_json:
        offset_hz, power = seen.peak
        print_json(
            {
                "settings": asdict(settings),
                "peak": {"offset_hz": offset_hz, "dbfs": dbfs(power)} if power else None,
                "floor_dbfs": dbfs(seen.floor),
                "resolution_hz": seen.resolution_hz,
                "png": None if to_png is None else str(to_png),
            }
            | levels.as_dict()
        )
    else:
        console.print(render(seen, settings, levels, console.width))


def _configure(radio: Radio, **given: float | None) -> RadioSettings:
    """Apply what was given, on top of what the radio has; its settings now."""
    stated = {name: value for name, value in given.items() if value is not None}
    return radio.configure(replace(radio.settings, **stated)) if stated else radio.settings


def _look(radio: Radio, n: int, bins: int) -> tuple[Spectrum, RadioSettings, Levels]:
    """The spectrum of n samples from now on, and how they were received."""
    heard = fresh(radio, n)
    levels = Levels(radio.caps.bits)
    levels.add(heard)
    return Spectrum.of(heard.iq, radio.settings.sample_rate_hz, bins), radio.settings, levels


def _require_seconds(seconds: float) -> None:
    if not 0 < seconds <= MOST_S:
        raise InputError(f"--seconds {seconds:g}: should be above 0 and at most {MOST_S:g}")


def _print_facts(title: str, facts: Mapping[str, str]) -> None:
    console.print(title, style="bold", markup=False, highlight=False, soft_wrap=True)
    for name, text in facts.items():
        console.print(
            f"  {name:<14} {text}", markup=False, highlight=False, soft_wrap=True, style="default"
        )
