"""``gnuradio://device_tx?sink=null``: a flowgraph as a Radio.

The address is a flowgraph that comes with AirMeta, or the path of a ``.grc`` file; or two of them
with a ``+`` between, one that sends and one that receives. Samples go in at its parameter
``from_host``, come out at ``to_host``, or both. Options are its other parameters; those named as
the settings of a radio (``carrier_hz``, ``sample_rate_hz``, ``tx_gain_db``, ``rx_gain_db``) are set
by `configure`, too. ``timeout_s`` (5) is how long samples may fail to come.

Where something in it has a pace of its own, samples flow all the time, zeros between bursts, and
their count is the clock. Where nothing has, as in a loop, time passes as samples are received.
The clock of a USRP is its own time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import zmq

from flowgraphs import timed
from flowgraphs.ends import ENDS, NOTHING, has_pace
from flowgraphs.grc_file import GrcFile, Value
from flowgraphs.links import ADDRESSES, FROM_HOST, REPORTS, TO_HOST, Entrance, Exit, addresses
from flowgraphs.live import AHEAD, BUFFER, Live
from flowgraphs.reports import Reports
from flowgraphs.runner import Flowgraph
from flowgraphs.stepped import Stepped
from flowgraphs.tags import Tag
from flowgraphs.timed import Timed
from radio.api import (
    IQ,
    Capture,
    Radio,
    RadioCaps,
    RadioError,
    RadioSettings,
    TxReport,
    require_burst,
    require_count,
    require_future,
    require_settings,
)
from radio.converter import converted
from radio.registry import RadioUri, choices

MAX_BURST = 1 << 24
TIMEOUT_S = 5.0
LOOP = "digital_loopback"
BOTH_WAYS = ({"pluto"}, {"usrp"})
SAME_CARRIER_HZ = 1e3  # by which one may miss what was asked; more is where a radio cannot go
SETTINGS = asdict(RadioSettings())


class FlowgraphRadio(Radio):
    """One flowgraph, or one that sends and one that receives, as a radio."""

    def __init__(
        self,
        files: list[GrcFile],
        options: Mapping[str, str],
        timeout_s: float = TIMEOUT_S,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """Start the flowgraphs.

        Args:
            files: flowgraphs, of which one has an entrance, one an exit, or one has both.
            options: parameters, each for every flowgraph that has it.
            timeout_s: how long samples may fail to come.
            environ: of the flowgraphs' processes.

        Raises:
            RadioError: an option is no parameter or has no such value, GNU Radio is absent, or a
                flowgraph does not compile or start.
        """
        self._files, self._environ, self._timeout_s = files, environ, timeout_s
        self._name = "+".join(file.name for file in files)
        _require_ways(files)
        self._values = _shared_out(options, files)
        chosen = [file.chosen(v) for file, v in zip(files, self._values, strict=True)]
        self._chosen = {name: value for each in chosen for name, value in each.items()}
        self._end = next((ENDS[c] for c in self._chosen.values() if c in ENDS), NOTHING)
        self._can_transmit = any(FROM_HOST in file.parameters for file in files)
        self._can_receive = any(TO_HOST in file.parameters for file in files)
        self._has_pace = any(
            has_pace(file.enabled(each).values()) for file, each in zip(files, chosen, strict=True)
        )
        # Two are one clock where both tell times, or the delay between them can be measured.
        self._keeps_times = (
            not self._has_pace or len(files) == 1 or set(self._chosen.values()) in BOTH_WAYS
        )
        self._clock, self._is_open = 0, True
        self._settings = RadioSettings(
            **{name: self._initial(name, default) for name, default in SETTINGS.items()}
        )
        require_settings(self._settings, self.caps)
        self._running = ExitStack()
        self._start()

    @property
    def caps(self) -> RadioCaps:
        """Of what the flowgraph ends at; a loop answers at once."""
        end = self._end
        ahead = AHEAD * BUFFER / self._settings.sample_rate_hz if self._has_pace else 0.0
        if end.has_time:
            ahead = timed.LEAD_S
        return RadioCaps(
            name=f"flowgraph {self._name}",
            can_transmit=self._can_transmit,
            timed=self._keeps_times,
            full_duplex=True,
            bits=end.bits,
            carrier_hz=end.carrier_hz,
            sample_rate_hz=end.sample_rate_hz,
            tx_gain_db=end.tx_gain_db,
            rx_gain_db=end.rx_gain_db,
            max_burst=MAX_BURST,
            turnaround_s=ahead,
        )

    @property
    def settings(self) -> RadioSettings:
        """As the flowgraphs have them; what they have no parameter for is only kept."""
        return self._settings

    @property
    def tags(self) -> list[Tag]:
        """Tags of the last capture: what GNU Radio says of samples, on this radio's clock."""
        return list(self._flow.tags)

    def configure(self, want: RadioSettings) -> RadioSettings:
        """Set the parameters of these names; what breaks a radio's streams starts them anew.

        The clock goes on then, but later bursts and captures of before are lost. A radio that does
        not start again is closed.
        """
        self._require_open()
        require_settings(want, self.caps)
        now, before = asdict(self._settings), asdict(want)
        changed = {name: value for name, value in before.items() if now[name] != value}
        if changed.keys() & self._end.begins_anew:
            self._clock = self._flow.now()
            self._running.close()
            self._settings = want
            with ExitStack() as failed:
                failed.callback(self.close)
                self._start()
                failed.pop_all()
            return self._settings
        try:
            self._settings = self._applied(want, changed)
        except RadioError:
            self._applied(self._settings, {name: now[name] for name in changed})
            raise
        finally:
            if isinstance(self._flow, Timed):
                self._flow.settle()
        return self._settings

    def now(self) -> int:
        """Samples that came out, or, where none do, that went in."""
        self._require_open()
        return self._flow.now()

    def transmit(self, iq: IQ, at: int | None = None) -> TxReport:
        """Send a burst; its first and last samples are tagged ``tx_sob`` and ``tx_eob``."""
        require_burst(iq, self.caps)
        self._require_open()
        if at is not None:
            require_future(at, self._flow.now())
        sent, clipped = converted(iq)
        return TxReport(self._settings.tx_gain_db, clipped, self._flow.send(sent, at))

    def receive(self, n: int, at: int | None = None) -> Capture:
        """Capture n samples; RadioError where the flowgraph only sends."""
        self._require_open()
        require_count(n)
        if not self._can_receive:
            raise RadioError(f"flowgraph {self._name} only transmits; add one with +receiver_rx")
        heard = self._flow.receive(n, at, self._timeout_s)
        return replace(heard, iq=converted(heard.iq)[0])

    def close(self) -> None:
        """Stop the flowgraphs; nothing of them is left."""
        self._is_open = False
        self._running.close()

    def describe(self) -> Mapping[str, str]:
        """What runs, under what."""
        self._require_open()
        gnuradio = self._graphs[0].gnuradio
        return {
            "flowgraph": ", ".join(str(file.path) for file in self._files),
            "gnuradio": f"{gnuradio.version} ({gnuradio.python})",
            **{name: value for name, value in self._chosen.items() if value},
        }

    def _applied(self, want: RadioSettings, changed: Mapping[str, float]) -> RadioSettings:
        """Tell those that changed; what a radio that tells makes of all."""
        for graph in self._graphs:
            known = graph.parameters
            if told := {name: value for name, value in changed.items() if name in known}:
                graph.set(**told)
        return self._told(want)

    def _told(self, want: RadioSettings) -> RadioSettings:
        """With the gains that a radio took; RadioError where it has another carrier."""
        if not self._end.has_time:
            return want
        carriers_hz, gains_db = self._graphs[0].tuned()
        for hz in carriers_hz:
            if abs(hz - want.carrier_hz) > SAME_CARRIER_HZ:
                raise RadioError(
                    f"{self._name} reaches {hz:.9g} Hz in place of {want.carrier_hz:.9g}"
                )
        return replace(want, **gains_db)

    def _initial(self, name: str, default: float) -> float:
        """A setting as it was given, or as a flowgraph has it, within what its end permits."""
        for values in self._values:
            if name in values:
                return float(str(values[name]))
        for file in self._files:
            if name in file.parameters:
                told = file.parameters[name]
                default = float(str(told.read(told.default, str(file.path))))
        allowed = getattr(self._end, name)
        return float(min(max(default, allowed.low), allowed.high))

    def _start(self) -> None:
        """Start all flowgraphs, and the samples."""
        with ExitStack() as stack:
            context = stack.enter_context(_Context())
            self._graphs = []
            entrance = exit_ = reports = None
            # What sends starts last: a receiver that loads its filter turns a PlutoSDR up.
            files = sorted(self._files, key=lambda file: FROM_HOST in file.parameters)
            # One that has its own time is a single process's.
            for each in [files] if self._end.has_time else [[file] for file in files]:
                known = {name for file in each for name in file.parameters}
                values = {name: value for its in self._values for name, value in its.items()}
                values |= asdict(self._settings)
                folder = Path(stack.enter_context(TemporaryDirectory(ignore_cleanup_errors=True)))
                places = addresses(known, folder)
                if FROM_HOST in places:
                    entrance = Entrance(places[FROM_HOST], context)
                told = {name: value for name, value in values.items() if name in known} | places
                graph = stack.enter_context(Flowgraph(each, told, self._environ, folder))
                self._graphs.append(graph)
                if entrance is not None and FROM_HOST in places:
                    entrance.lead_to(graph)
                if TO_HOST in known:
                    exit_ = Exit(graph, context)
                if self._end.has_time and REPORTS in known:
                    reports = Reports(graph.name, places[REPORTS], context)
                if self._end is not NOTHING and "tx_gain_db" in known:
                    stack.callback(_mute, graph, self._end.tx_gain_db.low)
            rate = self._settings.sample_rate_hz
            self._flow: Stepped | Live | Timed
            if self._end.has_time:
                self._flow = Timed(self._name, rate, self._graphs[0], entrance, exit_, reports)
            elif self._has_pace or exit_ is None:
                clock, loop = self._clock, self._loop()
                self._flow = Live(self._name, rate, entrance, exit_, clock, loop)
            else:
                self._flow = Stepped(entrance, exit_)
            stack.callback(self._flow.close)
            self._settings = self._told(self._settings)
            self._running = stack.pop_all()

    def _loop(self) -> Callable[[bool], None] | None:
        """Lets the radio that sends hear itself, where the flowgraph can do that."""
        for graph in self._graphs:
            if LOOP in graph.parameters and "pluto" in graph.chosen.values():
                return partial(_set_loop, graph)
        return None

    def _require_open(self) -> None:
        if not self._is_open:
            raise RadioError(f"flowgraph {self._name} is closed; open it again")


def _set_loop(graph: Flowgraph, on: bool) -> None:
    graph.set(**{LOOP: int(on)})


def _mute(graph: Flowgraph, gain_db: float) -> None:
    """Before it stops; with one that has gone, so has what it sent."""
    with suppress(RadioError):
        graph.set(tx_gain_db=gain_db)


class _Context(zmq.Context[zmq.Socket[bytes]]):
    """A context that is left without waiting for messages that nobody takes any more."""

    def __exit__(self, *_: object) -> None:
        self.destroy(0)


def _require_ways(files: list[GrcFile]) -> None:
    """RadioError unless samples go into one flowgraph at most, and out of one at most."""
    for parameter, what in ((FROM_HOST, "go into"), (TO_HOST, "come out of")):
        several = [file.name for file in files if parameter in file.parameters]
        if len(several) > 1:
            raise RadioError(f"samples cannot {what} both {' and '.join(several)}")
    for file in files:
        if not {FROM_HOST, TO_HOST} & file.parameters.keys():
            raise RadioError(f"{file.path} has neither parameter {FROM_HOST} nor {TO_HOST}")


def _shared_out(options: Mapping[str, str], files: list[GrcFile]) -> list[dict[str, Value]]:
    """The options of each flowgraph; RadioError where one is nobody's, or no such value."""
    known = {name for file in files for name in file.parameters} - set(ADDRESSES)
    for name in options:
        if name not in known:
            names = " and ".join(file.name for file in files)
            raise RadioError(f"flowgraph {names} has no parameter {name!r}; {choices(name, known)}")
    return [
        file.checked({name: v for name, v in options.items() if name in file.parameters})
        for file in files
    ]


def open_flowgraph(uri: RadioUri) -> FlowgraphRadio:
    """The flowgraph, or both of them, at the URI's address; see the module for the options."""
    if not uri.address:
        raise RadioError(f"{uri} does not say which; one looks like gnuradio://device_tx?sink=null")
    timeout_s = uri.option("timeout_s", float, TIMEOUT_S)
    if not timeout_s > 0:
        raise RadioError(f"{uri}: timeout_s should be above 0")
    options = {name: value for name, value in uri.options.items() if name != "timeout_s"}
    return FlowgraphRadio([GrcFile.named(n) for n in uri.address.split("+")], options, timeout_s)
