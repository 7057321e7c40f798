"""A procedural handwriting: invented alphabets, as hard as Omniglot and always at hand.

Every alphabet has a style. A character is a few strokes, smooth curves through anchor points.
Twenty drawers write every character of an alphabet, each with a slant, a size and a pen of their
own and an unsteady hand.
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
POINTS = 4  # anchor points of a stroke
SAMPLES = 64  # points of a stroke on paper

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Style:
    """What characters of one alphabet have in common.

    Attributes:
        strokes: probability of 1, 2, 3 and 4 strokes.
        roundness: 0 for straight segments between anchors, 1 for smooth curves.
        bend_rad: how much a stroke turns at an anchor, standard deviation.
        turn_bias_rad: turning common to a stroke's anchors; large values make loops.
        reach: length of the step from anchor to anchor, 1 is the height of a character.
        joined: probability that a stroke starts on an earlier one.
        pen: radius of the pen in pixels.
    """

    strokes: NDArray[np.float64]
    roundness: float
    bend_rad: float
    turn_bias_rad: float
    reach: float
    joined: float
    pen: float


@functools.lru_cache(maxsize=1)
def load(seed: int = 0) -> tuple[CharacterSet, CharacterSet]:
    """Training and held-out characters: 24 alphabets of 20 characters, 20 drawings, each.

    Args:
        seed: another seed, other alphabets.
    """
    alphabets = [
        write_alphabet(np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,))))
        for index in range(2 * ALPHABETS)
    ]
    names = tuple(
        f"alphabet{index:02d}" for index in range(2 * ALPHABETS) for _ in range(CHARACTERS)
    )
    half = ALPHABETS * CHARACTERS
    return (
        CharacterSet(np.concatenate(alphabets[:ALPHABETS]), names[:half]),
        CharacterSet(np.concatenate(alphabets[ALPHABETS:]), names[half:]),
    )


def write_alphabet(rng: np.random.Generator) -> NDArray[np.uint8]:
    """uint8 [characters, drawings, 28, 28], ink 255 on 0; drawing i is by drawer i throughout."""
    style = _invent_style(rng)
    slant = rng.normal(0, 0.12, DRAWERS)
    turn = rng.normal(0, 0.08, DRAWERS)
    size = rng.lognormal(0, 0.12, (DRAWERS, 2))
    pen = style.pen * rng.lognormal(0, 0.12, DRAWERS)
    hands = size[:, :, None] * _shear(slant) @ _rotation(turn)
    return np.stack(
        [_write(_invent_character(style, rng), style, hands, pen, rng) for _ in range(CHARACTERS)]
    )


def _invent_style(rng: np.random.Generator) -> Style:
    return Style(
        strokes=rng.dirichlet([2.0, 4.0, 3.0, 1.0]),
        roundness=float(rng.choice([0.25, 1.0, 1.0])),
        bend_rad=rng.uniform(0.3, 0.9),
        turn_bias_rad=rng.uniform(0.2, 1.1),
        reach=rng.uniform(0.28, 0.42),
        joined=rng.uniform(0.3, 0.9),
        pen=rng.uniform(0.65, 0.85),
    )


def _invent_character(style: Style, rng: np.random.Generator) -> Points:
    """Anchors [strokes, POINTS, 2] in a unit square centred on the origin."""
    strokes: list[Points] = []
    for _ in range(1 + int(rng.choice(4, p=style.strokes))):
        if strokes and rng.random() < style.joined:
            start = strokes[rng.integers(len(strokes))][rng.integers(POINTS)]
        else:
            start = rng.uniform(-0.5, 0.5, 2)
        # Writing runs along the page's axes more often than not.
        heading = rng.integers(4) * np.pi / 2 + rng.normal(0, 0.25)
        bias = rng.normal(0, style.turn_bias_rad)
        turns = bias + rng.normal(0, style.bend_rad, POINTS - 1)
        turns[0] = 0
        headings = heading + np.cumsum(turns)
        lengths = style.reach * rng.lognormal(0, 0.3, (POINTS - 1, 1))
        steps = lengths * np.stack([np.cos(headings), np.sin(headings)], axis=1)
        strokes.append(np.concatenate([start[None], start + np.cumsum(steps, axis=0)]))
    anchors = np.stack(strokes)
    low, high = anchors.min(axis=(0, 1)), anchors.max(axis=(0, 1))
    # Fill the page as a writer would, but leave flat characters flat.
    centred: Points = anchors - (low + high) / 2
    return centred / max(float((high - low).max()), 0.6)


def _write(
    anchors: Points, style: Style, hands: Points, pen: Points, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """One character by every drawer, uint8 [drawers, 28, 28]."""
    drawers = len(hands)
    shaky = anchors + rng.normal(0, 0.035, (drawers, *anchors.shape))
    shaky += rng.normal(0, 0.03, (drawers, len(anchors), 1, 2))  # a stroke slips as a whole
    paths = _curve(shaky, style.roundness).reshape(drawers, -1, 2)
    paths = paths @ hands.swapaxes(1, 2)
    middle = (paths.max(axis=1, keepdims=True) + paths.min(axis=1, keepdims=True)) / 2
    paths += rng.normal(0, 0.03, (drawers, 1, 2)) - middle
    extent = np.abs(paths).max(axis=(1, 2), keepdims=True)
    paths *= np.minimum(1, 0.56 / extent)  # nothing leaves the page
    return _stamp((0.5 + 0.8 * paths) * SIDE, pen)


def _curve(anchors: Points, roundness: float) -> Points:
    """Cardinal spline through anchors [..., POINTS, 2], as [..., SAMPLES, 2]."""
    position = np.linspace(0, POINTS - 1, SAMPLES)
    piece = np.minimum(position.astype(int), POINTS - 2)
    t = (position - piece)[:, None]
    tangents = roundness * np.gradient(anchors, axis=-2)
    start, end = anchors[..., piece, :], anchors[..., piece + 1, :]
    leave, arrive = tangents[..., piece, :], tangents[..., piece + 1, :]
    rise = t * t * (3 - 2 * t)
    chord: Points = start + rise * (end - start)
    bow: Points = t * (1 - t) ** 2 * leave - t * t * (1 - t) * arrive
    return chord + bow


def _stamp(paths: Points, pen: Points) -> NDArray[np.uint8]:
    """Press a round pen on paths [drawers, points, 2] in pixels; uint8 [drawers, 28, 28]."""
    fine = SIDE * FINE
    reach = int(np.ceil(pen.max() * FINE))
    offsets = np.stack(np.meshgrid(*2 * [np.arange(-reach, reach + 1)]), axis=-1).reshape(-1, 2)
    nearest = np.clip(np.rint(paths * FINE).astype(int), reach, fine - 1 - reach)
    paper = np.zeros((len(paths), fine, fine), np.uint8)
    for sheet, points, radius in zip(paper, nearest, pen * FINE, strict=True):
        touched = points[:, None] + offsets[(offsets**2).sum(axis=1) <= radius**2]
        sheet[touched[..., 1], touched[..., 0]] = 255
    blocks = paper.reshape(len(paths), SIDE, FINE, SIDE, FINE)
    ink: NDArray[np.uint8] = blocks.mean(axis=(2, 4)).astype(np.uint8)
    return ink


def _rotation(angles_rad: Points) -> Points:
    cos, sin = np.cos(angles_rad), np.sin(angles_rad)
    return np.stack([np.stack([cos, -sin], axis=-1), np.stack([sin, cos], axis=-1)], axis=-2)


def _shear(slants: Points) -> Points:
    matrices = np.broadcast_to(np.eye(2), (len(slants), 2, 2)).copy()
    matrices[:, 0, 1] = slants
    return matrices
