from dataclasses import replace

import pytest

from radio.waveform.numerology import Numerology
from testbed.on_air.timeline import Timeline

DEFAULT = Timeline(
    Numerology(), num_devices=10, num_symbols=11_394, turnaround_s=20e-3, control_s=0.1
)


def test_the_default_frame():
    (layout,) = DEFAULT.layouts
    assert layout.data_symbols == 57
    assert len(layout.pilot_rows) == 2
    assert DEFAULT.beacon.length == 32 + 8 * 256
    assert DEFAULT.sync.length == 32 + 2 * 256
    assert DEFAULT.slot == 368
    kinds = [span.kind for span in DEFAULT.spans]
    soundings = ["sounding"] * 10
    assert kinds == ["beacon", "sync", *soundings, "control", "sync", "sync", "sync", "burst"]
    # The last beacon is as old as the radio's turnaround asks for.
    last = DEFAULT.syncs[0][-1]
    assert DEFAULT.bursts[0] - (last + DEFAULT.sync.length) == 20_000
    assert DEFAULT.bursts[0] - DEFAULT.sounding_end == 100_000
    assert 24e-3 < DEFAULT.airtime_s < 26e-3


def test_a_shared_clock_needs_one_beacon():
    shared = replace(DEFAULT, shared_clock=True)
    kinds = [span.kind for span in shared.spans]
    assert kinds == ["beacon", *["sounding"] * 10, "control", "burst"]
    # 8 periods and 32; ten pilots; preamble, two pilots and the data.
    assert shared.airtime_s == pytest.approx((2080 + 10 * 288 + 60 * 288) / 1e6)


def test_bursts_of_free_running_radios_each_have_a_beacon():
    long = replace(DEFAULT, num_symbols=30_000)
    assert [layout.data_symbols for layout in long.layouts] == [50, 50, 50]
    for beacons, start in zip(long.syncs, long.bursts, strict=True):
        assert start - beacons[-1] == 544 + 20_000
    shared = replace(long, shared_clock=True)
    ends = [s + layout.length for s, layout in zip(shared.bursts, shared.layouts, strict=True)]
    assert shared.bursts[1:] == tuple(end + 400 for end in ends[:-1])


@pytest.mark.parametrize("control_s", [0.0, 1e-3, 0.05])
def test_a_short_control_way_waits_for_the_sync_beacons(control_s):
    quick = replace(DEFAULT, control_s=control_s, sync_beacons=4)
    first = quick.late_sync + quick.sync.length
    assert quick.syncs[0][0] >= first
    assert quick.bursts[0] == max(
        quick.sounding_end + round(control_s * 1e6),
        first + 400 + 3 * 10_000 + 544 + 20_000,
    )


def test_fewer_devices_need_fewer_slots():
    assert DEFAULT.sounding_end - replace(DEFAULT, num_devices=4).sounding_end == 6 * 368
