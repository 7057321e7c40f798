from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from radio.waveform.frame import BurstLayout
from radio.waveform.numerology import Numerology
from testbed.on_air.timeline import GAP, LEAST_TURNAROUND, SLOT_GUARD, Timeline


@st.composite
def numerologies(draw):
    size = 2 * draw(st.integers(8, 256))
    carriers = 2 * draw(st.integers(2, size // 2 - 1))
    return Numerology(1e6, size, draw(st.integers(0, size // 4)), carriers)


@st.composite
def layouts(draw):
    numerology = draw(numerologies())
    devices = draw(st.integers(1, numerology.used_carriers // 2))
    return BurstLayout(numerology, draw(st.integers(1, 9)), devices, draw(st.integers(0, 5)))


@given(layouts(), st.data())
@settings(deadline=None, max_examples=60)
def test_packed_and_collected_for_any_size(layout, data):
    n = data.draw(st.integers(0, layout.capacity))
    device = data.draw(st.integers(0, layout.num_devices - 1))
    symbols = np.arange(1, n + 1).astype(np.complex64)
    values = layout.pack(symbols, device)
    assert values.dtype == np.complex64
    np.testing.assert_array_equal(layout.collect(values[layout.data_rows], n), symbols)
    assert np.count_nonzero(values[layout.data_rows]) == n
    np.testing.assert_array_equal(values[layout.pilot_rows] != 0, layout.owners == device)
    for row in layout.owners:
        assert set(row.tolist()) == set(range(layout.num_devices))


@st.composite
def timelines(draw):
    return Timeline(
        Numerology(),
        num_devices=draw(st.integers(1, 100)),
        num_symbols=draw(st.integers(1, 60_000)),
        turnaround_s=draw(st.sampled_from([0.0, 1e-4, 2e-3, 20e-3, 0.1])),
        control_s=draw(st.sampled_from([0.0, 1e-4, 3e-3, 0.1, 1.0])),
        shared_clock=draw(st.booleans()),
        burst_symbols=draw(st.integers(1, 80)),
        sync_beacons=draw(st.integers(1, 5)),
    )


@given(timelines())
@settings(deadline=None, max_examples=200)
def test_two_radios_never_send_at_the_same_time(timeline):
    spans = [span for span in timeline.spans if span.kind != "control"]
    assert spans[0].kind == "beacon"
    assert spans[0].start == 0
    for one, two in pairwise(spans):
        silence = two.start - (one.start + one.length)
        assert silence >= (SLOT_GUARD if one.kind == two.kind == "sounding" else GAP), (one, two)
    end = max(span.start + span.length for span in spans)
    assert timeline.length == end
    assert round(timeline.airtime_s * 1e6) == sum(span.length for span in spans) <= end


@given(timelines())
@settings(deadline=None, max_examples=200)
def test_turnaround_and_control_are_respected(timeline):
    beacons = [s for s in timeline.spans if s.kind in ("beacon", "sync")]
    wait = max(timeline.samples(timeline.turnaround_s), LEAST_TURNAROUND)
    # Whatever a device sends, it has had time since the last beacon that it uses for it.
    answers = (
        [timeline.sounding] if timeline.shared_clock else [timeline.sounding, *timeline.bursts]
    )
    for start in answers:
        last = max((b for b in beacons if b.start < start), key=lambda b: b.start)
        assert start - (last.start + last.length) >= wait
    granted = timeline.bursts[0] - timeline.sounding_end
    assert granted >= timeline.samples(timeline.control_s)
    (control,) = [s for s in timeline.spans if s.kind == "control"]
    assert control.start == timeline.sounding_end
    assert control.start + control.length == timeline.bursts[0]


@given(timelines())
@settings(deadline=None, max_examples=200)
def test_bursts_hold_all_symbols_and_are_nearly_equal(timeline):
    sizes = [layout.data_symbols for layout in timeline.layouts]
    carriers = timeline.numerology.used_carriers
    assert 0 <= sum(sizes) * carriers - timeline.num_symbols < carriers
    assert max(sizes) <= timeline.burst_symbols
    assert max(sizes) - min(sizes) <= 1
    assert len(timeline.bursts) == len(timeline.syncs) == len(sizes)
    assert all(layout.num_devices == timeline.num_devices for layout in timeline.layouts)


@given(timelines())
@settings(deadline=None, max_examples=100)
def test_sync_beacons_are_there_where_clocks_differ(timeline):
    counts = [len(group) for group in timeline.syncs]
    syncs = [span for span in timeline.spans if span.kind == "sync"]
    if timeline.shared_clock:
        assert not syncs
        assert set(counts) == {0}
        return
    assert counts == [timeline.sync_beacons, *([1] * (len(counts) - 1))]
    assert len(syncs) == 2 + sum(counts)
    spacing = np.diff(timeline.syncs[0])
    assert set(spacing.tolist()) <= {timeline.samples(timeline.sync_spacing_s)}
