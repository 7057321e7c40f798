# ruff: noqa: N802, N803 (these are SoapySDR's names)
"""A module that stands in for SoapySDR's, with devices that honour less than UHD's do."""

from __future__ import annotations

import numpy as np

SOAPY_SDR_TX, SOAPY_SDR_RX = 0, 1
SOAPY_SDR_CF32 = "CF32"
SOAPY_SDR_END_BURST, SOAPY_SDR_HAS_TIME, SOAPY_SDR_MORE_FRAGMENTS = 2, 4, 8
SOAPY_SDR_TIMEOUT, SOAPY_SDR_STREAM_ERROR, SOAPY_SDR_CORRUPTION = -1, -2, -3
SOAPY_SDR_OVERFLOW, SOAPY_SDR_NOT_SUPPORTED = -4, -5
SOAPY_SDR_TIME_ERROR, SOAPY_SDR_UNDERFLOW = -6, -7

MTU = 100
RATES = (250e3, 1e6, 2e6)
TRANSMITTER, RECEIVER = 10.0, 5.0  # gains as they were found

opened: list[Device] = []


def errToStr(code: int) -> str:
    return {-2: "STREAM_ERROR", -3: "CORRUPTION", -5: "NOT_SUPPORTED"}.get(code, str(code))


def ramp(first: int, n: int) -> np.ndarray:
    """What is heard from this sample on: each says which it is."""
    return ((np.arange(first, first + n) % 1000 + 1) / 1001).astype(np.complex64)


class Range:
    def __init__(self, low, high):
        self.minimum, self.maximum = lambda: low, lambda: high


class Result:
    def __init__(self, ret, flags=0, time_ns=0):
        self.ret, self.flags, self.timeNs = ret, flags, time_ns


class Device:
    """Time goes on as samples are read; `has` says what it has: time, tx, and what it loses.

    Attributes:
        written: (flags, ns, samples) of each call.
        statuses: of bursts, still to be told.
        lose: samples of the clock that are never heard.
    """

    def __init__(self, found_by):
        self.has = found_by.get("has", "tx").split("+")
        self.clock = 5_000
        self.running = False
        self.written, self.statuses, self.lose = [], [], range(0)
        self.is_closed = False
        self.antennas = {SOAPY_SDR_RX: "RX2", SOAPY_SDR_TX: "TX/RX"}
        self.gains = {SOAPY_SDR_RX: RECEIVER, SOAPY_SDR_TX: TRANSMITTER}
        self.rates = dict.fromkeys(self.gains, 250e3)
        self.carriers = dict.fromkeys(self.gains, 433e6)
        self.bandwidths = dict.fromkeys(self.gains, 5e6)
        self.is_automatic = True
        self.reference, self.locked = "internal", "unlocked" not in self.has
        opened.append(self)

    def close(self):
        self.is_closed = True

    def getHardwareKey(self):
        return "Fake"

    def getDriverKey(self):
        return "fake"

    def getHardwareInfo(self):
        return {"serial": "F00"}

    def listSensors(self):
        return ("temp", "ref_locked")

    def readSensor(self, name):
        return "41.27" if name == "temp" else str(self.locked).lower()

    def getNumChannels(self, way):
        return 0 if way == SOAPY_SDR_TX and "tx" not in self.has else 1

    def hasHardwareTime(self):
        return "time" in self.has

    def getHardwareTime(self):
        return self.clock * 1000 * 1_000_000 // int(self.rates[SOAPY_SDR_RX])

    def getFullDuplex(self, way, channel):
        return False

    def getStreamFormats(self, way, channel):
        return ("CS8", "CF32")

    def getFrequencyRange(self, way, channel):
        return (Range(1e6, 2e9), Range(3e9, 6e9))

    def getSampleRateRange(self, way, channel):
        return tuple(Range(rate, rate) for rate in RATES)

    def getBandwidthRange(self, way, channel):
        return (Range(1e6, 10e6),)

    def getGainRange(self, way, channel):
        return Range(0.0, 40.0)

    def hasGainMode(self, way, channel):
        return way == SOAPY_SDR_RX

    def getGainMode(self, way, channel):
        return self.is_automatic

    def setGainMode(self, way, channel, automatic):
        self.is_automatic = automatic

    def listClockSources(self):
        return ("internal", "external")

    def listTimeSources(self):
        return ()

    def listAntennas(self, way, channel):
        return ("TX/RX", "RX2")

    def getClockSource(self):
        return self.reference

    def setClockSource(self, name):
        self.reference = name

    def getTimeSource(self):
        return ""

    def getAntenna(self, way, channel):
        return self.antennas[way]

    def setAntenna(self, way, channel, name):
        self.antennas[way] = name

    def getGain(self, way, channel):
        return self.gains[way]

    def setGain(self, way, channel, gain_db):
        self.gains[way] = round(gain_db)  # in steps

    def getSampleRate(self, way, channel):
        return self.rates[way]

    def setSampleRate(self, way, channel, rate_hz):
        before_hz = self.rates[way]
        self.rates[way] = min(RATES, key=lambda rate: abs(rate - rate_hz))
        if way == SOAPY_SDR_RX:  # its time goes on from where it was
            self.clock = round(self.clock * self.rates[way] / before_hz)

    def getFrequency(self, way, channel):
        return self.carriers[way]

    def setFrequency(self, way, channel, carrier_hz):
        self.carriers[way] = carrier_hz

    def getBandwidth(self, way, channel):
        return self.bandwidths[way]

    def setBandwidth(self, way, channel, bandwidth_hz):
        self.bandwidths[way] = bandwidth_hz

    def setupStream(self, way, kind, channels):
        return way

    def closeStream(self, stream):
        self.running = False

    def getStreamMTU(self, stream):
        return MTU

    def activateStream(self, stream, flags=0, time_ns=0, n=0):
        if flags:
            return SOAPY_SDR_NOT_SUPPORTED
        self.running = self.running or stream == SOAPY_SDR_RX
        return 0

    def deactivateStream(self, stream):
        self.running = self.running and stream != SOAPY_SDR_RX
        return 0

    def readStream(self, stream, buffers, n, timeoutUs):
        (buffer,) = buffers
        if not self.running:
            return Result(SOAPY_SDR_TIMEOUT)
        if self.clock in self.lose:
            self.clock = self.lose.stop
            return Result(SOAPY_SDR_OVERFLOW)
        count = min(n, MTU, self.lose.start - self.clock if self.clock < self.lose.start else MTU)
        buffer[:count] = ramp(self.clock, count)
        flags, time_ns = (
            (SOAPY_SDR_HAS_TIME, self.getHardwareTime()) if "time" in self.has else (0, 0)
        )
        self.clock += count
        return Result(count, flags, time_ns)

    def writeStream(self, stream, buffers, n, flags, time_ns, timeout_us):
        (buffer,) = buffers
        taken = min(n, 1000)
        self.written.append(
            (flags if taken == n else flags & ~SOAPY_SDR_END_BURST, time_ns, buffer[:taken].copy())
        )
        return Result(taken)

    def readStreamStatus(self, stream, timeoutUs):
        return self.statuses.pop(0) if self.statuses else Result(SOAPY_SDR_TIMEOUT)
