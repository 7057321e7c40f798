"""Samples that flow through flowgraphs by themselves, because a radio or a throttle has its pace.

What is counted is the time: samples that came out of the one that receives, or, where none does,
that went into the one that sends. Zeros go in between bursts, so that the count goes on.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from flowgraphs.links import Bursts, Entrance, Exit
from flowgraphs.tags import Tag
from radio.api import IQ, Capture, RadioError, require_future
from radio.probe import PROBE, place_of_probe, probe
from radio.streaming import HeardStream

BUFFER = 4096  # samples that go in at once
HISTORY_S = 1.0  # of what was received that may still be asked for
END_S = 2.0  # in which they end
START_S = 10.0  # in which samples begin to come
SETTLE_S = 0.3  # in which a radio does what a message told it
AHEAD = 24  # transfers that wait on their way to what sends them, at most
TRIES = 4  # of measuring the delay, which a busy machine can spoil
FILLED, STARTING = 8, 64  # transfers that were taken when it sends; received until then, at most
MOST_TAGS = 10_000  # that are kept for nobody
TIME = "rx_time"  # tag of the first sample, and of the one after a gap


class Live:
    """The streams of flowgraphs that run.

    Attributes:
        tags: of the last capture, on this clock.
    """

    def __init__(
        self,
        name: str,
        rate_hz: float,
        entrance: Entrance | None,
        exit_: Exit | None,
        clock: int,
        loop: Callable[[bool], None] | None = None,
    ) -> None:
        """Let them flow, from what the clock shows now.

        Args:
            name: for messages.
            rate_hz: samples a second.
            entrance: where samples go in, if they do.
            exit_: where they come out, if they do.
            clock: what it shows now.
            loop: lets the radio hear what it sends, or no longer; None where it cannot.

        Raises:
            RadioError: samples do not flow, or a radio that hears itself does not.
        """
        self._name, self._clock = name, clock
        self._entrance, self._exit = entrance, exit_
        self._bursts = Bursts()
        self._heard = HeardStream(name, round(HISTORY_S * rate_hz))
        self._last_end = 0
        self._stopping = threading.Event()
        self._found: deque[Tag] = deque(maxlen=MOST_TAGS)
        self.tags: list[Tag] = []
        loops: list[Callable[[], None]] = []
        if entrance is not None:
            loops.append(self._send)
        if exit_ is not None:
            loops.append(self._hear)
        self._threads = [
            threading.Thread(target=self._run, args=(loop,), name=name, daemon=True)
            for loop in loops
        ]
        self._lag: int | None = None  # of what comes out behind what goes in
        for thread in self._threads:
            thread.start()
        if entrance is not None and exit_ is not None and loop is not None:
            try:
                self._lag = self._measure(loop)
            except BaseException:
                self.close()
                raise
        self._last_end = self._heard.end

    def now(self) -> int:
        """The end of what came out, or of what went in where nothing comes out."""
        return self._clock + (self._bursts.position if self._exit is None else self._heard.end)

    def send(self, iq: IQ, at: int | None) -> int:
        """Put a burst on the stream; its first sample on the clock."""
        self._require_whole()
        shift = self._clock + (self._lag or 0)
        return self._bursts.post(iq, None if at is None else at - shift) + shift

    def receive(self, n: int, at: int | None, patience_s: float) -> Capture:
        """Capture from where the last one ended, or from `at`, as far back as it is kept."""
        self._require_whole()
        oldest = max(self._last_end, self._heard.oldest)
        if at is not None:
            require_future(at, self._clock + oldest)
        first = oldest if at is None else int(at) - self._clock
        lost = first - self._last_end if at is None else 0
        iq = self._heard.read(first, n, patience_s)
        self._last_end = first + n
        self.tags = []
        while self._found and self._found[0].offset < first + n:
            tag = self._found.popleft()
            if tag.offset >= first:
                self.tags.append(replace(tag, offset=tag.offset + self._clock))
        return Capture(iq, first + self._clock, lost)

    def close(self) -> None:
        """Stop them; what was still to be sent is not."""
        self._stopping.set()
        self._bursts.clear()
        for thread in self._threads:
            thread.join(END_S)

    def _measure(self, loop: Callable[[bool], None]) -> int:
        """How much later a sample comes out than it went in, by the two counts."""
        for _ in range(STARTING):
            if self._bursts.position >= FILLED * BUFFER:
                break
            self._heard.read(self._heard.end, BUFFER, START_S)
        try:
            loop(True)
            self._stopping.wait(SETTLE_S)
            for _ in range(TRIES):
                first = self._heard.end
                place = self._bursts.post(probe(), None)
                heard = self._heard.read(first, (AHEAD + 8) * BUFFER + PROBE, START_S)
                if (found := place_of_probe(heard)) is not None:
                    return first + found - place
        finally:
            loop(False)
        raise RadioError(f"{self._name} does not hear itself in its digital loopback")

    def _require_whole(self) -> None:
        if self._heard.fault is not None:
            raise RadioError(self._heard.fault)

    def _run(self, loop: Callable[[], None]) -> None:
        try:
            loop()
        except RadioError as error:
            self._heard.fail(f"{error}: the clock is void, open the radio again")
        finally:
            self._stopping.set()
            self._bursts.clear()

    def _send(self) -> None:
        """Hand out samples as fast as they are taken."""
        entrance = self._entrance
        while entrance is not None and not self._stopping.is_set():
            if entrance.wait():
                entrance.push(*self._bursts.take(BUFFER))

    def _hear(self) -> None:
        """Take what comes; a radio says by a tag where samples were lost."""
        exit_ = self._exit
        while exit_ is not None and not self._stopping.is_set():
            if not exit_.wait():
                continue
            iq, tags = exit_.pull(END_S)
            for tag in tags:
                if tag.key == TIME and tag.offset:
                    raise RadioError(f"{self._name}: samples were lost before {tag.offset}")
            self._found += tags
            self._heard.append(iq)
            self._require_step()

    def _require_step(self) -> None:
        """Nothing of what came out so far should have gone in later.

        What sends had to wait, then, and all that it sends is late from there on, which no radio
        tells. Less than what waits on its way is not seen.
        """
        if self._lag is not None and self._heard.end - self._lag > self._bursts.position:
            raise RadioError(f"{self._name} had nothing to send for a while")
