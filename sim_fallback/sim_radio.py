"""``sim://``: a radio of the virtual air behind the protocol of every radio."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from radio.api import (
    IQ,
    Capture,
    Radio,
    RadioCaps,
    RadioError,
    RadioSettings,
    Range,
    TxReport,
    require_burst,
    require_count,
    require_future,
    require_settings,
)
from sim_fallback.air import Air
from sim_fallback.airs import AirUri, borrow

TX_GAIN_DB = Range(-90.0, 30.0)
RX_GAIN_DB = Range(-20.0, 90.0)
MAX_BURST = 1 << 24  # samples; 128 MiB
FLOAT_BITS = 24  # of a converter that does not round: the mantissa of float32


class SimRadio(Radio):
    """One radio of an air. It sends while it receives, and honours every time to the sample.

    In virtual time `receive` moves the air on and `transmit` does not; in wall-clock time the air
    goes on by itself, and `receive` returns when its window is over.
    """

    def __init__(self, air: Air, name: str, on_close: Callable[[], None] = lambda: None) -> None:
        """The radio `name` of an air; RadioError where there is none.

        Args:
            air: shared by its radios.
            name: of the radio in the air's scene.
            on_close: called once, when the radio is closed.
        """
        scene, front_end = air.scene, air.scene.radio(name).front_end
        self._air, self._name, self._on_close = air, name, on_close
        bits = [bits for bits in (front_end.dac_bits, front_end.adc_bits) if bits is not None]
        self._caps = RadioCaps(
            name=f"sim {name}",
            can_transmit=True,
            timed=True,
            full_duplex=True,
            bits=min(bits, default=FLOAT_BITS),
            carrier_hz=Range(scene.carrier_hz, scene.carrier_hz),
            sample_rate_hz=Range(scene.sample_rate_hz, scene.sample_rate_hz),
            tx_gain_db=TX_GAIN_DB,
            rx_gain_db=RX_GAIN_DB,
            max_burst=MAX_BURST,
            turnaround_s=max(front_end.turnaround_s, air.clock.latency_s),
        )
        self._settings = RadioSettings(scene.carrier_hz, scene.sample_rate_hz)
        self._is_open = True
        self._last_end = self.now()

    @property
    def caps(self) -> RadioCaps:
        """Of its front end; carrier and sample rate are the scene's."""
        return self._caps

    @property
    def settings(self) -> RadioSettings:
        """The settings in force; gains take effect with the next burst or capture."""
        return self._settings

    def configure(self, want: RadioSettings) -> RadioSettings:
        """Apply the gains, exactly; RadioError for a carrier or a rate that is not the scene's."""
        self._require_open()
        require_settings(want, self._caps)
        self._settings = want
        return want

    def now(self) -> int:
        """The first sample of its clock that lies not before the air's present."""
        self._require_open()
        return self._air.scene.sample_at(self._name, self._air.present_s)

    def transmit(self, iq: IQ, at: int | None = None) -> TxReport:
        """Send a burst; without a time, once those that it has still to send are over.

        Raises:
            RadioError: as every radio, where another burst is sent then, or, in wall-clock time,
                where `at` is nearer than the air's latency.
        """
        self._require_open()
        require_burst(iq, self._caps)
        scene, name = self._air.scene, self._name
        soonest = scene.sample_at(name, self._air.present_s + self._air.clock.latency_s)
        start = self._air.free_from(name, soonest) if at is None else int(at)
        require_future(start, soonest)
        gain_db = self._settings.tx_gain_db
        clipped = self._air.post(name, iq, start, gain_db)
        return TxReport(gain_db, clipped, start)

    def receive(self, n: int, at: int | None = None) -> Capture:
        """Capture n samples.

        In virtual time a capture stands for one that was armed in advance: it may begin as early as
        this radio's last one ended, wherever the others have moved the present. In wall-clock time
        captures without a time follow each other without a gap for as long as the air buffers
        them; then some are lost, which `overflows` counts.

        Raises:
            RadioError: as every radio, and where the air no longer remembers that time.
        """
        self._require_open()
        require_count(n)
        present, clock = self.now(), self._air.clock
        if at is None:
            start = clock.resume(self._last_end, present, self._settings.sample_rate_hz)
            first, lost = start.sample, start.lost
        else:
            require_future(at, clock.earliest(self._last_end, present))
            first, lost = int(at), 0
        iq = self._air.capture(self._name, first, n, self._settings.rx_gain_db)
        self._last_end = max(self._last_end, first + n)
        return Capture(iq, first, lost)

    def describe(self) -> Mapping[str, str]:
        """Serial number and temperature."""
        self._require_open()
        equipment = self._air.scene.radio(self._name)
        celsius = float(equipment.temperature.at(self._air.present_s))
        return {"serial": equipment.serial(self._name), "temperature": f"{celsius:.1f} °C"}

    def close(self) -> None:
        """Silent from now on; closing twice is fine."""
        if self._is_open:
            self._air.cancel(self._name, self.now())
            self._is_open = False
            self._on_close()

    def _require_open(self) -> None:
        if not self._is_open:
            raise RadioError(f"the radio {self._name} is closed; open it again")


def open_sim(uri: AirUri) -> SimRadio:
    """A radio by ``sim://AIR?name=RADIO``; see `sim_fallback.airs` for the airs there are.

    Raises:
        RadioError: no such radio on that air, or an option that is wrong.
    """
    name = uri.option("name", str, None)
    if name is None:
        raise RadioError(f"{uri} does not say which radio; add ?name=d0")
    air, give_back = borrow(uri)
    try:
        return SimRadio(air, name, give_back)
    except RadioError:
        give_back()
        raise
