import numpy as np
import pytest

from benchmarks.bench_sync import BEACON, MAX_CFO_HZ, SOUNDING, SYNC_BEACON, arriving, detection
from benchmarks.bench_sync import variances as measured_variances
from radio.waveform.numerology import Numerology
from radio.waveform.ofdm import modulate
from radio.waveform.preamble import Preamble
from radio.waveform.sync import correlation, detect, measure

NUMEROLOGY = Numerology()
PREAMBLES = pytest.mark.parametrize("preamble", [BEACON, SYNC_BEACON], ids=["beacon", "sync"])


def _wrapped(phase):
    return np.angle(np.exp(1j * phase))


def test_what_arrives_is_the_preamble_at_a_fraction_of_a_sample():
    iq = arriving(SYNC_BEACON, 700, 40.3, np.random.default_rng(0), 300.0, 0.5j)
    time = np.arange(700) - 40.3
    inside = (time >= 0) & (time < SYNC_BEACON.length)
    angles = 2 * np.pi * np.outer(time - 32, NUMEROLOGY.carriers) / 256
    dense = inside * (np.exp(1j * angles) @ SYNC_BEACON.values) / 16
    dense = dense * 0.5j * np.exp(2j * np.pi * 300e-6 * (time - 32 - 256))
    np.testing.assert_allclose(iq, dense, atol=1e-5)


@PREAMBLES
@pytest.mark.parametrize("carrier_hz", [915e6, 2.45e9])
@pytest.mark.parametrize("ppm", [-50, -24.9, -0.1, 0, 25, 50])
def test_offsets_of_both_oscillators_are_found_without_noise(preamble, carrier_hz, ppm):
    cfo_hz = ppm * 1e-6 * carrier_hz
    rng = np.random.default_rng(1)
    iq = arriving(preamble, 4096, 700.37, rng, cfo_hz, 0.2 * np.exp(2j), 0.0, dc=0.1 - 0.2j)
    found = detect(iq, preamble, MAX_CFO_HZ)
    assert found.start == pytest.approx(700.37, abs=1e-4)
    assert found.cfo_hz == pytest.approx(cfo_hz, abs=0.1)
    assert _wrapped(found.phase - 2) == pytest.approx(0, abs=1e-4)
    assert found.gain == pytest.approx(0.2, rel=1e-4)
    assert found.noise_var < 1e-6 * found.gain**2
    np.testing.assert_allclose(found.channel, 0.2 * np.exp(2j), atol=1e-3)


@PREAMBLES
@pytest.mark.parametrize("cfo_hz", [-122.5e3, -61.25e3, 61.25e3, 122.5e3])
def test_offsets_at_20_db_are_within_their_bound(preamble, cfo_hz):
    rng = np.random.default_rng(2)
    bounds = preamble.bounds(100.0)
    for _ in range(5):
        start, phase = rng.uniform(0, 800), rng.uniform(-np.pi, np.pi)
        iq = arriving(preamble, 3000, start, rng, cfo_hz, np.exp(1j * phase), 0.01, dc=0.5)
        found = detect(iq, preamble, 123e3)
        assert abs(found.start - start) < 4.5 * np.sqrt(bounds.start)
        assert abs(found.cfo_hz - cfo_hz) < 4.5 * np.sqrt(bounds.cfo_hz)
        assert abs(_wrapped(found.phase - phase)) < 4.5 * np.sqrt(bounds.phase)
        assert abs(found.gain - 1) < 4.5 * np.sqrt(bounds.gain)


@PREAMBLES
def test_no_miss_and_no_false_alarm_at_5_db(preamble):
    assert detection(preamble, frames=400) == (0, 0)


@pytest.mark.parametrize(("preamble", "snr_db"), [(BEACON, -6.0), (SYNC_BEACON, -1.0)])
def test_weak_beacons_are_found_too(preamble, snr_db):
    assert detection(preamble, frames=60, snr_db=snr_db) == (0, 0)


def test_variances_are_within_2_db_of_the_bound():
    for (name, snr_db), ratios in measured_variances(trials=250).items():
        for quantity, ratio in ratios.items():
            if quantity == "cfo_hz" and name == "sounding":
                continue
            # 250 trials know a variance to 0.4 dB; below -1.6 dB the bound would be wrong.
            assert -1.6 < 10 * np.log10(ratio) < 2, (name, snr_db, quantity)


def test_timing_at_20_db_is_better_than_a_hundredth_of_a_sample():
    rng = np.random.default_rng(3)
    errors = []
    for _ in range(200):
        start = 60 + 4 * rng.random()
        found = measure(arriving(SYNC_BEACON, 700, start, rng, 200.0, 1, 0.01), SYNC_BEACON, 62, 0)
        errors.append(found.start - start)
    assert np.sqrt(np.mean(np.square(errors))) < 0.004  # 0.0025 at the bound


def test_noise_and_snr_are_those_of_the_capture():
    rng = np.random.default_rng(4)
    found = [
        measure(arriving(SYNC_BEACON, 700, 60.2, rng, 0.0, 0.5, 0.025), SYNC_BEACON, 60, 0.0)
        for _ in range(100)
    ]
    assert np.mean([arrival.noise_var for arrival in found]) == pytest.approx(0.025, rel=0.02)
    assert np.mean([arrival.snr for arrival in found]) == pytest.approx(10, rel=0.03)
    bound = SYNC_BEACON.bounds(10.0).phase
    assert np.mean([arrival.phase_var for arrival in found]) == pytest.approx(bound, rel=0.05)


def test_a_known_offset_stays_to_the_bit_and_one_repeat_keeps_what_it_was_given():
    rng = np.random.default_rng(5)
    iq = arriving(BEACON, 2500, 100.0, rng, 100.0, 1, 0.01)
    assert measure(iq, BEACON, 98, 123.0, cfo_known=True).cfo_hz == 123.0
    assert measure(iq, BEACON, 98, 123.0).cfo_hz == pytest.approx(100, abs=3)
    iq = arriving(SOUNDING, 500, 100.4, rng, 2500.0, 1j, 0.001)
    found = measure(iq, SOUNDING, 98, 2500.0)
    assert found.cfo_hz == 2500.0
    assert found.start == pytest.approx(100.4, abs=0.01)
    assert _wrapped(found.phase - np.pi / 2) == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("off_hz", [-1000.0, 1000.0])
@PREAMBLES
def test_the_expected_offset_may_be_a_kilohertz_wrong(preamble, off_hz):
    rng = np.random.default_rng(6)
    iq = arriving(preamble, 2600, 206.1, rng, 60e3 + off_hz, 1, 0.01)
    found = measure(iq, preamble, 200, 60e3)
    assert found.cfo_hz == pytest.approx(60e3 + off_hz, abs=20)
    assert found.start == pytest.approx(206.1, abs=0.02)


@pytest.mark.parametrize("preamble", [BEACON, SYNC_BEACON, SOUNDING])
def test_what_is_not_there_is_not_measured(preamble):
    rng = np.random.default_rng(7)
    iq = arriving(preamble, 2800, 300.0, rng, 0.0, 1, 0.1)
    assert measure(iq, preamble, 305, 0.0) is not None
    assert measure(iq, preamble, 330, 0.0) is None  # beyond the search
    other = Preamble(NUMEROLOGY, preamble.repeats, seed=9)
    assert measure(iq, other, 300, 0.0) is None
    assert (
        measure(arriving(preamble, 2800, 300.0, rng, gain=0, noise_var=1), preamble, 300, 0) is None
    )
    assert measure(np.zeros(2800, np.complex64), preamble, 300, 0.0) is None


@PREAMBLES
def test_other_signals_are_not_the_preamble(preamble):
    rng = np.random.default_rng(8)
    data = np.exp(0.5j * np.pi * rng.integers(0, 4, (20, 200))).astype(np.complex64)
    tone = np.exp(0.7j * np.arange(5000)).astype(np.complex64)
    other = Preamble(NUMEROLOGY, preamble.repeats, seed=1)
    for iq in (
        modulate(data, NUMEROLOGY),
        tone,
        np.full(5000, 0.3 + 0.1j, np.complex64),
        np.zeros(5000, np.complex64),
        arriving(other, 5000, 900.0, rng, 5e3, 1, 0.01),
        arriving(SOUNDING, 5000, 900.0, rng, 5e3, 1, 0.01),
    ):
        assert detect(iq, preamble, MAX_CFO_HZ) is None


@PREAMBLES
@pytest.mark.parametrize("noise_var", [0.0, 0.1])
def test_a_preamble_that_is_cut_off_is_none(preamble, noise_var):
    rng = np.random.default_rng(9)
    iq = arriving(preamble, 3000, 400.0, rng, 20e3, 1, noise_var)
    end = 400 + preamble.length
    for cut in (40, 128, 256, 300):
        assert detect(iq[400 + cut :], preamble, MAX_CFO_HZ) is None
        assert detect(iq[: end - cut], preamble, MAX_CFO_HZ) is None
    for first, last in ((400, end), (0, end), (400, 3000)):
        assert detect(iq[first:last], preamble, MAX_CFO_HZ).start == pytest.approx(
            400 - first, abs=0.05
        )


def test_the_earlier_of_two_is_found_and_one_behind_a_stranger():
    rng = np.random.default_rng(10)
    first = arriving(SYNC_BEACON, 9000, 1000.0, rng, 3e3, 0.3, 0.005)
    iq = first + arriving(SYNC_BEACON, 9000, 5000.0, rng, 3e3)
    assert detect(iq, SYNC_BEACON, MAX_CFO_HZ).start == pytest.approx(1000, abs=0.1)
    iq = first + arriving(BEACON, 9000, 5000.0, rng, 3e3)
    assert detect(iq, BEACON, MAX_CFO_HZ).start == pytest.approx(5000, abs=0.1)


@PREAMBLES
def test_three_taps_are_timed_alike_each_time(preamble):
    rng = np.random.default_rng(11)
    taps = {0.0: 0.8, 2.0: 0.5j, 5.0: -0.33}
    centroid = np.average(list(taps), weights=np.abs(list(taps.values())) ** 2)
    found = [
        detect(
            arriving(preamble, 2600, 300.25, rng, -30e3, 1, 0.01, taps=taps), preamble, MAX_CFO_HZ
        )
        for _ in range(30)
    ]
    starts = np.array([arrival.start for arrival in found]) - 300.25
    assert np.std(starts) < 0.03
    assert np.mean(starts) == pytest.approx(centroid, abs=0.3)
    offsets = np.array([arrival.cfo_hz for arrival in found]) + 30e3
    assert np.sqrt(np.mean(offsets**2)) < 1.5 * np.sqrt(preamble.bounds(100.0).cfo_hz)
    assert np.mean([arrival.noise_var for arrival in found]) == pytest.approx(0.01, rel=0.05)
    # The channel holds the taps, apart from the ramp of the start that was found, and the phase of
    # the centre that moved with it.
    arrival, shift = found[0], starts[0]
    turns = np.exp(
        -2j * np.pi * np.outer(np.subtract(list(taps), shift), NUMEROLOGY.carriers) / 256
    )
    turns *= np.exp(-2j * np.pi * 30e3 * shift / 1e6)
    error = arrival.channel - np.array(list(taps.values())) @ turns
    assert np.mean(np.abs(error) ** 2) == pytest.approx(0.01 / preamble.repeats, rel=0.5)


def test_the_trace_peaks_where_the_preamble_starts():
    rng = np.random.default_rng(12)
    iq = arriving(SYNC_BEACON, 2000, 700.0, rng, 40e3, 0.1, 1e-4)
    trace = correlation(iq, SYNC_BEACON, 40e3)
    assert trace.shape == (2000,)
    assert trace.dtype == np.float32
    assert np.argmax(trace) == 700
    assert 0.98 < trace[700] <= 1.0001
    assert trace.min() >= 0
    assert np.all(trace[2000 - 544 + 1 :] == 0)
    dense = np.abs(np.vdot(SYNC_BEACON.iq * np.exp(2j * np.pi * 0.04 * np.arange(544)), iq[:544]))
    energy = np.sum(np.abs(SYNC_BEACON.iq) ** 2) * np.sum(np.abs(iq[:544]) ** 2)
    assert trace[0] == pytest.approx(dense / np.sqrt(energy), abs=1e-4)
    assert not correlation(iq[:500], SYNC_BEACON, 0.0).any()


def test_bad_input_is_refused_by_name():
    iq = np.zeros(2000, np.complex64)
    with pytest.raises(ValueError, match="2 repeats"):
        detect(iq, SOUNDING, 1e3)
    with pytest.raises(ValueError, match="max_cfo_hz"):
        detect(iq, BEACON, 500e3)
    with pytest.raises(ValueError, match="threshold"):
        detect(iq, BEACON, 1e3, threshold=0.0)
    with pytest.raises(ValueError, match="search"):
        measure(iq, BEACON, 0, 0.0, search=-1)
    with pytest.raises(ValueError, match="complex vector"):
        detect(np.zeros((2, 2000), np.complex64), BEACON, 1e3)
    with pytest.raises(ValueError, match="complex vector"):
        measure(np.zeros(2000, np.float32), BEACON, 0, 0.0)
    iq[7] = np.nan
    with pytest.raises(ValueError, match="undefined"):
        detect(iq, BEACON, 1e3)
    assert detect(iq[:0], BEACON, 1e3) is None
    assert measure(iq[:0], BEACON, 0, 0.0) is None
