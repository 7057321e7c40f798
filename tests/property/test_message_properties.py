from collections import Counter

import numpy as np
import pytest
from any_message import DIRECTIONS, EVERY_KIND, messages
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.fuzz_messages import judge, mutated
from testbed.nodes.device_messages import FROM_DEVICE
from testbed.nodes.messages import decode, encode, largest, rules
from testbed.nodes.rules import MessageError


def direction_of(kind):
    return next(kinds for kinds in DIRECTIONS.values() if kind in kinds)


@given(messages())
@settings(deadline=None, max_examples=200)
def test_every_message_comes_back_to_the_bit(message):
    kinds = direction_of(type(message.body))
    data = encode(message)
    back = decode(data, kinds)
    assert back == message
    assert encode(back) == data
    assert len(data) <= largest(frozenset({type(message.body)}))
    for name in rules(type(message.body)):
        one, two = getattr(message.body, name), getattr(back.body, name)
        assert type(one) is type(two)
        if isinstance(one, np.ndarray):
            assert (one.dtype, one.shape, one.tobytes()) == (two.dtype, two.shape, two.tobytes())
            assert not two.flags.writeable


@given(st.data(), st.sampled_from(EVERY_KIND))
@settings(deadline=None, max_examples=100)
def test_a_message_for_another_end_is_refused(data, kind):
    message = data.draw(messages(kinds=(kind,)))
    for kinds in DIRECTIONS.values():
        if kind not in kinds:
            with pytest.raises(MessageError):
                decode(encode(message), kinds)


@given(st.data(), st.sampled_from(sorted(FROM_DEVICE, key=lambda kind: kind.__name__)))
@settings(deadline=None, max_examples=100)
def test_a_device_never_says_more_than_512_bytes(data, kind):
    assert len(encode(data.draw(messages(kinds=(kind,))))) < 512


@given(st.binary(max_size=400))
@settings(deadline=None, max_examples=300)
def test_arbitrary_bytes_are_no_message(data):
    for kinds in DIRECTIONS.values():
        with pytest.raises(MessageError) as error:
            decode(data, kinds)
        assert "\n" not in str(error.value)


def test_two_thousand_mutated_messages():
    found = Counter()
    for data in mutated(2000, np.random.default_rng(1)):
        judge(data, found)
    assert found["refused"] + found["taken"] == 4 * 2000
    assert found["taken"] > 20  # mutations that hit a value only
