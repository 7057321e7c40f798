"""Samples of a radio that knows the time of each, as a USRP does: its time is the clock.

What is received says by a tag when it was; so what is lost shows, and is zeros. Bursts go in only
shortly before their time, which a tag says, and nothing between them: what is told too late or is
cut off, the radio reports.
"""

from __future__ import annotations

import threading
from bisect import insort
from collections import deque
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from flowgraphs.links import Entrance, Exit
from flowgraphs.reports import Reports
from flowgraphs.runner import Flowgraph
from flowgraphs.tags import Tag, TagValue
from radio.api import IQ, Capture, RadioError, require_future
from radio.streaming import HeardStream

TIME, RATE = "rx_time", "rx_rate"
"""Tags of the first sample, and of the one after a gap or a change."""

HISTORY_S = 1.0  # of what was received that may still be asked for
START_S = 10.0  # in which samples begin to come
PULL_S = 2.0  # in which more come
END_S = 2.0  # in which the threads end
LEAD_S = 0.05  # by which a burst has to be told ahead, and after which a setting shows
AHEAD_S = 0.15  # by which bursts go in
LONGEST_GAP_S = 10.0
POLL_S = 0.01
RATES_EQUAL = 1e-9
MOST_TAGS = 10_000  # that are kept for nobody


class Timed:
    """The streams of flowgraphs around a radio with times of its own.

    Attributes:
        tags: of the last capture, on this clock.
    """

    def __init__(
        self,
        name: str,
        rate_hz: float,
        graph: Flowgraph,
        entrance: Entrance | None,
        exit_: Exit | None,
        reports: Reports | None,
    ) -> None:
        """Let samples come, and wait for the first.

        Args:
            name: for messages.
            rate_hz: samples a second.
            graph: what tells the radio's time where no samples come.
            entrance: where bursts go in, if they do.
            exit_: where samples come out, if they do.
            reports: what the radio says of bursts.

        Raises:
            RadioError: none come, they have no time, or another rate.
        """
        self._name, self._rate_hz, self._graph = name, rate_hz, graph
        self._entrance, self._exit, self._reports = entrance, exit_, reports
        self._heard = HeardStream(name, round(HISTORY_S * rate_hz))
        self._origin = 0  # on the clock, of the first sample
        self._gaps: deque[tuple[int, int]] = deque()  # where samples are missing, and how many
        self._last_end = 0
        self._found: deque[Tag] = deque(maxlen=MOST_TAGS)
        self.tags: list[Tag] = []
        self._lock = threading.Lock()
        self._waiting: list[tuple[int, IQ]] = []
        self._gone_in = self._last_burst_end = 0  # samples; on the clock
        self._stopping = threading.Event()
        loops = [self._send] if entrance is not None else []
        loops += [self._hear] if exit_ is not None else []
        self._threads = [
            threading.Thread(target=self._run, args=(loop,), name=name, daemon=True)
            for loop in loops
        ]
        for thread in self._threads:
            thread.start()
        try:
            if exit_ is not None:
                self._heard.read(0, 1, START_S)
            else:
                self._asked()
        except BaseException:
            self.close()
            raise

    def now(self) -> int:
        """The end of what came out, by the radio's time, which is asked where nothing does."""
        return self._asked() if self._exit is None else self._origin + self._heard.end

    def send(self, iq: IQ, at: int | None) -> int:
        """Let a burst go in before its time; its first sample on the clock."""
        self._require_well()
        lead = round(LEAD_S * self._rate_hz)
        with self._lock:
            ends = [start + each.size for start, each in self._waiting]
            start = max(self.now() + lead, self._last_burst_end, *ends) if at is None else int(at)
            for begin, other in self._waiting:
                if start < begin + other.size and begin < start + iq.size:
                    raise RadioError(
                        f"the {other.size} samples of another burst begin at {begin}: one from "
                        f"{start} on would overlap"
                    )
            if start < self._last_burst_end:
                raise RadioError(
                    f"{self._name} has a burst already that ends at {self._last_burst_end}; one "
                    f"from {start} on can no longer go before it"
                )
            insort(self._waiting, (start, iq), key=lambda burst: burst[0])
        return start

    def receive(self, n: int, at: int | None, patience_s: float) -> Capture:
        """Capture from where the last one ended, or from `at`, as far back as it is kept.

        What is missing is zeros, and counted.
        """
        self._require_well()
        oldest = max(self._last_end, self._heard.oldest)
        if at is not None:
            require_future(at, self._origin + oldest)
        first = oldest if at is None else int(at) - self._origin
        lost = first - self._last_end if at is None else 0
        iq = self._heard.read(first, n, patience_s)
        self._last_end = end = first + n
        with self._lock:
            for begin, size in self._gaps:
                lost += max(0, min(end, begin + size) - max(first, begin))
            while self._gaps and sum(self._gaps[0]) <= end:
                self._gaps.popleft()
        self.tags = []
        while self._found and self._found[0].offset < end:
            tag = self._found.popleft()
            if tag.offset >= first:
                self.tags.append(replace(tag, offset=tag.offset + self._origin))
        return Capture(iq, first + self._origin, lost)

    def settle(self) -> None:
        """Settings have changed: what was received before is not asked for any more."""
        if self._exit is not None:
            first, wait = self._heard.end, round(LEAD_S * self._rate_hz)
            self._heard.read(first, wait, PULL_S)
            self._last_end = first + wait
        if self._reports is not None:
            self._reports.forget()

    def close(self) -> None:
        """What was still to be sent is not."""
        self._stopping.set()
        with self._lock:
            self._waiting.clear()
        for thread in self._threads:
            thread.join(END_S)

    def _require_well(self) -> None:
        if self._heard.fault is not None:
            raise RadioError(self._heard.fault)
        if self._reports is not None:
            self._reports.require_well()

    def _run(self, loop: Callable[[], None]) -> None:
        try:
            loop()
        except RadioError as error:
            self._heard.fail(f"{error}: open the radio again")
        finally:
            self._stopping.set()

    def _send(self) -> None:
        """Hand over bursts as their time comes near."""
        entrance = self._entrance
        while entrance is not None and not self._stopping.is_set():
            if not self._waiting:
                self._stopping.wait(POLL_S)
                continue
            near = self.now() + AHEAD_S * self._rate_hz
            with self._lock:
                due = [burst for burst in self._waiting if burst[0] < near]
                del self._waiting[: len(due)]
                for start, iq in due:
                    self._last_burst_end = start + iq.size
            if not due:
                self._stopping.wait(POLL_S)
            for start, iq in due:
                self._hand_over(entrance, start, iq)

    def _hand_over(self, entrance: Entrance, start: int, iq: IQ) -> None:
        whole, rest = divmod(start, self._rate_hz)
        when: TagValue = (int(whole), rest / self._rate_hz)
        first, last = self._gone_in, self._gone_in + iq.size - 1
        tags = [Tag(first, "tx_sob", True), Tag(first, "tx_time", when), Tag(last, "tx_eob", True)]
        entrance.push(iq, tags)
        self._gone_in += iq.size

    def _hear(self) -> None:
        """Take what comes, and put it where its time says."""
        exit_, came, patience_s = self._exit, 0, START_S
        while exit_ is not None and not self._stopping.is_set():
            if not exit_.wait():
                continue
            iq, tags = exit_.pull(patience_s)
            patience_s, done = PULL_S, 0
            if not came and TIME not in [tag.key for tag in tags if not tag.offset]:
                raise RadioError(f"its first sample has no time, no tag {TIME}")
            for tag in tags:
                place = tag.offset - came
                if tag.key == RATE:
                    self._require_rate(tag.value)
                elif tag.key == TIME:
                    self._keep(iq[done:place])
                    self._go_to(self._sample(tag.value))
                    done = place
                self._found.append(replace(tag, offset=self._heard.end + place - done))
            self._keep(iq[done:])
            came += iq.size

    def _keep(self, iq: IQ) -> None:
        if iq.size:
            self._heard.append(iq)

    def _go_to(self, sample: int) -> None:
        """The next one is this sample of the clock; those between are missing."""
        if not self._heard.end:
            self._origin = sample
        gap = sample - self.now()
        if not 0 <= gap <= LONGEST_GAP_S * self._rate_hz:
            raise RadioError(
                f"its time went from {self.now()} to {sample} samples: another "
                "program has set it, or the radio was gone"
            )
        if gap:
            with self._lock:
                self._gaps.append((self._heard.end, gap))
            self._keep(np.zeros(gap, np.complex64))

    def _asked(self) -> int:
        """The radio's time."""
        whole, part, rate_hz = self._graph.time()
        self._require_rate(rate_hz)
        return self._sample((whole, part))

    def _sample(self, when: TagValue) -> int:
        match when:
            case (int(whole), float(part)):
                return round(whole * self._rate_hz + part * self._rate_hz)
        raise RadioError(f"{TIME} is {when!r}, not seconds and their fraction")

    def _require_rate(self, rate_hz: TagValue) -> None:
        if not (isinstance(rate_hz, float) and abs(rate_hz / self._rate_hz - 1) < RATES_EQUAL):
            raise RadioError(f"there is no rate {self._rate_hz:g} Hz; the next one is {rate_hz} Hz")
