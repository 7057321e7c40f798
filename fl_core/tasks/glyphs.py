"""A procedural handwriting: invented alphabets, as hard as Omniglot and always at hand.

Every alphabet has a style. A character is a few strokes, smooth curves through anchor points.
Twenty drawers write every character of an alphabet, each with a slant, a size and a pen of their
own and an unsteady hand. Points of the page are complex numbers: a turn is a product.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl_core.tasks.characters import CharacterSet

SIDE = 28
FINE = 3  # strokes are stamped on a grid this much finer, then averaged: antialiasing
DRAWERS = 20
CHARACTERS = 20
ALPHABETS = 24  # of each of training and held out
ANCHORS = 6  # of a stroke
SAMPLES = 88  # points of a stroke on paper
# How a stroke turns from step to step, as shares of its total turn; then the range of that total
# in rad, and the range of its length as a multiple of a character's height.
STROKES = (
    ((0.25, 0.25, 0.25, 0.25), (-0.3, 0.3), (0.45, 1.0)),  # bar
    ((0.25, 0.25, 0.25, 0.25), (-0.6, 0.6), (0.1, 0.3)),  # tick
    ((0.25, 0.25, 0.25, 0.25), (1.4, 3.4), (0.7, 1.3)),  # arc
    ((0.25, 0.25, 0.25, 0.25), (4.2, 5.6), (0.9, 1.8)),  # loop
    ((0.5, 0.3, -0.4, -0.4), (2.0, 4.0), (0.8, 1.5)),  # wave
    ((0.0, 0.1, 0.3, 0.6), (1.6, 4.0), (0.7, 1.3)),  # hook
    ((0.0, 0.5, 0.5, 0.0), (1.2, 2.4), (0.6, 1.3)),  # corner
    ((0.9, 0.1, -0.2, -0.8), (1.6, 2.4), (0.9, 1.6)),  # zigzag
)

Points = NDArray[np.complex128]
Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Style:
    """What characters of one alphabet have in common.

    Attributes:
        counts: probability of 1, 2, 3 and 4 strokes.
        kinds: probability of each of `STROKES`.
        roundness: how smoothly a pen passes an anchor, 0 gives polygons, 1 smooth curves.
        upright: probability that a stroke sets off along the vertical.
        joined: probability that a stroke starts on an earlier one.
        pen: radius of the pen in pixels.
    """

    counts: Reals
    kinds: Reals
    roundness: float
    upright: float
    joined: float
    pen: float


@dataclass(frozen=True)
class Drawers:
    """How people differ who write the same alphabet.

    Any linear map of the page is z -> a z + b conj(z): a turns and scales, b stretches and slants.

    Attributes:
        scale: a, one per drawer.
        slant: b, one per drawer.
        pen: radius of the pen in pixels, one per drawer.
    """

    scale: Points
    slant: Points
    pen: Reals


@functools.lru_cache(maxsize=1)
def load(seed: int = 0) -> tuple[CharacterSet, CharacterSet]:
    """Training and held-out characters: 24 alphabets of 20 characters, 20 drawings, each.

    Args:
        seed: another seed, other alphabets.
    """
    training, heldout = (
        CharacterSet(
            np.concatenate([write_alphabet(np.random.default_rng([seed, n])) for n in numbers]),
            tuple(f"alphabet{n:02d}" for n in numbers for _ in range(CHARACTERS)),
        )
        for numbers in (range(ALPHABETS), range(ALPHABETS, 2 * ALPHABETS))
    )
    return training, heldout


def write_alphabet(rng: np.random.Generator) -> NDArray[np.uint8]:
    """uint8 [characters, drawings, 28, 28], ink 255 on 0; drawing i is by drawer i throughout."""
    style = Style(
        counts=rng.dirichlet([2.0, 5.0, 3.0, 1.0]),
        kinds=rng.dirichlet(np.full(len(STROKES), 0.7)),
        roundness=float(rng.choice([0.3, 0.8, 1.0])),
        upright=rng.uniform(0.3, 0.8),
        joined=rng.uniform(0.4, 0.9),
        pen=rng.uniform(0.7, 0.88),
    )
    drawers = Drawers(
        scale=rng.lognormal(0, 0.16, DRAWERS) * np.exp(1j * rng.normal(0, 0.09, DRAWERS)),
        slant=_gaussian(0.08, (DRAWERS,), rng),
        pen=style.pen * rng.lognormal(0, 0.1, DRAWERS),
    )
    characters = (_invent_character(style, rng) for _ in range(CHARACTERS))
    return np.stack([_write(anchors, style, drawers, rng) for anchors in characters])


def _invent_character(style: Style, rng: np.random.Generator) -> Points:
    """Anchors [strokes, ANCHORS], centred on the origin, the larger side of their box 1."""
    strokes: list[Points] = []
    for _ in range(1 + int(rng.choice(len(style.counts), p=style.counts))):
        if strokes and rng.random() < style.joined:
            start = rng.choice(strokes[rng.integers(len(strokes))])
        else:
            start = complex(*rng.uniform(-0.5, 0.5, 2))
        strokes.append(start + _invent_stroke(style, rng))
    anchors = np.stack(strokes)
    low, high = _corners(anchors.reshape(1, -1))
    side = max(np.ptp([low.real, high.real]), np.ptp([low.imag, high.imag]))
    centred: Points = (anchors - (low + high) / 2) / max(side, 0.35)  # a lone tick stays small
    return centred


def _invent_stroke(style: Style, rng: np.random.Generator) -> Points:
    """Anchors [ANCHORS] of a stroke that starts at the origin."""
    shares, totals, lengths = STROKES[rng.choice(len(STROKES), p=style.kinds)]
    axis = np.pi / 2 if rng.random() < style.upright else 0.0
    heading = axis + np.pi * rng.integers(2) + rng.normal(0, 0.3)
    # Curvature varies along a stroke, or every arc would be a part of a circle.
    turn = rng.uniform(*totals) * rng.choice([-1, 1]) * rng.lognormal(0, 0.35, ANCHORS - 2)
    headings = heading + np.cumsum([0.0, *(turn * np.array(shares))])
    steps = rng.uniform(*lengths) / (ANCHORS - 1) * rng.lognormal(0, 0.25, ANCHORS - 1)
    return np.cumsum([0.0, *(steps * np.exp(1j * headings))])


def _write(
    anchors: Points, style: Style, drawers: Drawers, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """One character by every drawer, uint8 [drawers, 28, 28]."""
    # A hand errs in proportion to the stroke, and an error bends all of the stroke that follows.
    steps = np.diff(anchors, axis=1)
    wander = np.cumsum(rng.normal(0, 0.1, (DRAWERS, *steps.shape)), axis=2)
    steps = steps * np.exp(1j * wander) * rng.lognormal(0, 0.12, wander.shape)
    starts = anchors[:, :1] + _gaussian(0.03, (DRAWERS, len(anchors), 1), rng)
    shaky = np.concatenate([starts, starts + np.cumsum(steps, axis=2)], axis=2)
    paths = _curve(shaky, style.roundness).reshape(DRAWERS, -1)
    paths = drawers.scale[:, None] * paths + drawers.slant[:, None] * paths.conj()
    low, high = _corners(paths)
    paths += _gaussian(0.08, low.shape, rng) - (low + high) / 2
    low, high = _corners(paths)
    extent = np.max(np.abs([low.real, low.imag, high.real, high.imag]), axis=0)
    inside = paths * np.minimum(1, 0.56 / extent)  # nothing leaves the page
    return _stamp(SIDE * (0.5 + 0.5j + 0.75 * inside), drawers.pen)


def _curve(anchors: Points, roundness: float) -> Points:
    """Cardinal splines through anchors [..., ANCHORS], as [..., SAMPLES]."""
    position = np.linspace(0, ANCHORS - 1, SAMPLES)
    piece = np.minimum(position.astype(int), ANCHORS - 2)
    t = position - piece
    tangents: Points = roundness * np.gradient(anchors, axis=-1)
    start, end = anchors[..., piece], anchors[..., piece + 1]
    chord: Points = start + t * t * (3 - 2 * t) * (end - start)
    leave, arrive = tangents[..., piece], tangents[..., piece + 1]
    bow: Points = t * (1 - t) ** 2 * leave - t * t * (1 - t) * arrive
    return chord + bow


def _stamp(paths: Points, pen: Reals) -> NDArray[np.uint8]:
    """Press a round pen on paths [drawers, points] in pixels; uint8 [drawers, 28, 28]."""
    fine = SIDE * FINE
    paper = np.zeros((len(paths), fine * fine), np.uint8)
    x, y = (np.rint(part * FINE).astype(np.intp) for part in (paths.real, paths.imag))
    offsets = np.arange(-fine // 2, fine // 2)
    distance = np.hypot(*np.meshgrid(offsets, offsets))
    for sheet, centres, radius in zip(paper, y * fine + x, pen * FINE, strict=True):
        rows, columns = np.nonzero(distance <= radius)
        disc = offsets[rows] * fine + offsets[columns]
        sheet[centres[:, None] + disc] = 255
    blocks = paper.reshape(len(paths), SIDE, FINE, SIDE, FINE)
    ink: NDArray[np.uint8] = blocks.mean(axis=(2, 4)).astype(np.uint8)
    return ink


def _corners(points: Points) -> tuple[Points, Points]:
    """Lowest and highest corner of the box around points [n, points], each [n, 1]."""
    x, y = points.real, points.imag
    low: Points = x.min(axis=1, keepdims=True) + 1j * y.min(axis=1, keepdims=True)
    high: Points = x.max(axis=1, keepdims=True) + 1j * y.max(axis=1, keepdims=True)
    return low, high


def _gaussian(spread: float, shape: tuple[int, ...], rng: np.random.Generator) -> Points:
    """Points around the origin, standard deviation `spread` along each axis."""
    around: Points = rng.normal(0, spread, (*shape, 2)) @ np.array([1, 1j])
    return around
