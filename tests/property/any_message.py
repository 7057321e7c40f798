"""Strategies for messages, drawn from the rules of their fields alone."""

import math
import string

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from testbed.nodes.coordinator_messages import TO_DEVICE, TO_RECEIVER
from testbed.nodes.device_messages import FROM_DEVICE
from testbed.nodes.messages import Message, rules
from testbed.nodes.receiver_messages import FROM_RECEIVER
from testbed.nodes.rules import Array, Choice, Flag, Maybe, Real, Text, Whole, Word

DIRECTIONS = {
    "from device": FROM_DEVICE,
    "to device": TO_DEVICE,
    "from receiver": FROM_RECEIVER,
    "to receiver": TO_RECEIVER,
}
EVERY_KIND = sorted(frozenset().union(*DIRECTIONS.values()), key=lambda kind: kind.__name__)
LENGTHS = {"d": 40, "r": 5, "K": 12}

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)


def of_rule(rule, lengths):
    """Values that a rule permits; arrays with the given lengths."""
    match rule:
        case Whole(low, high):
            return st.integers(low, high)
        case Real(low, high):
            bounds = [None if math.isinf(b) else b for b in (low, high)]
            return st.floats(*bounds, allow_nan=False, allow_infinity=False)
        case Flag():
            return st.booleans()
        case Choice(words):
            return st.sampled_from(words)
        case Word(pattern):
            return st.from_regex(pattern, fullmatch=True, alphabet=string.printable)
        case Text(most, lines):
            text = st.text(st.characters(codec="utf-8"), max_size=most // 4)
            return text.map(
                lambda t: "".join(c for c in t if c.isprintable() or (lines and c == "\n"))
            )
        case Maybe(inner):
            return st.none() | of_rule(inner, lengths)
        case Array(dtype, dims):
            shape = tuple(lengths[dim] for dim in dims)
            return hnp.arrays(dtype, shape, elements=entries(rule))
    raise AssertionError(rule)


def entries(rule):
    low, high = rule.low, rule.high
    kind = np.dtype(rule.dtype).kind
    if kind == "b":
        return st.booleans()
    if kind == "i":
        return st.integers(int(low), int(high))
    bounds = [None if math.isinf(b) else b for b in (low, high)]
    if kind == "c":
        part = st.floats(allow_nan=False, allow_infinity=False, width=32)
        return st.builds(complex, part, part)
    return st.floats(
        *bounds, allow_nan=False, allow_infinity=False, width=8 * np.dtype(rule.dtype).itemsize
    )


@st.composite
def bodies(draw, kind):
    lengths = {dim: draw(st.integers(1, most)) for dim, most in LENGTHS.items()}
    return kind(**{n: draw(of_rule(rule, lengths)) for n, rule in rules(kind).items()})


@st.composite
def messages(draw, kinds=tuple(EVERY_KIND)):
    body = draw(bodies(draw(st.sampled_from(list(kinds)))))
    counts = draw(st.integers(0, 2**31 - 1)), draw(st.integers(0, 2**63 - 1))
    return Message(draw(names), counts[0], draw(names), counts[1], body)
