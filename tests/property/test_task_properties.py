import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_core.tasks import build_family, characters
from fl_core.tasks.characters import CharacterSet

CLASSES, DRAWINGS = 15, 7


def numbered() -> CharacterSet:
    """Pictures that tell in three pixels which class, drawing and way up they are."""
    images = np.zeros((CLASSES, DRAWINGS, 28, 28), np.uint8)
    images[:, :, 0, 0] = 10 + np.arange(CLASSES)[:, None]
    images[:, :, 0, 1] = 10 + np.arange(DRAWINGS)
    return CharacterSet(images, tuple(f"a{c % 4}" for c in range(CLASSES)))


DRAWN = numbered()


def identify(picture) -> tuple[int, int, int]:
    """Character, quarter turns and drawing of a picture [1, 28, 28]."""
    pixels = np.rint(picture[0].numpy() * 255).astype(int)
    for turns in range(4):
        upright = np.rot90(pixels, -turns)
        if upright[0, 0] and upright[0, 1]:
            return upright[0, 0] - 10, turns, upright[0, 1] - 10
    raise AssertionError("a picture of nothing")


@st.composite
def populations(draw):
    rotations = draw(st.booleans())
    ways = draw(st.integers(2, 5))
    total = CLASSES * (4 if rotations else 1)
    shots = draw(st.integers(1, DRAWINGS - 1))
    return characters.populate(
        DRAWN,
        num_devices=draw(st.integers(1, total // ways)),
        ways=ways,
        shots=shots,
        queries=draw(st.integers(1, DRAWINGS - shots)),
        rotations=rotations,
        partition=draw(st.sampled_from(["random", "alphabet"])),
        rng=np.random.default_rng(draw(st.integers(0, 2**32))),
    )


@given(populations())
def test_devices_share_out_every_class_exactly_once_and_evenly(population):
    everything = [tuple(row) for owned in population.classes for row in owned.tolist()]
    turns = 1 + max(turn for _, turn in everything)
    assert sorted(everything) == [(c, t) for c in range(CLASSES) for t in range(turns)]
    sizes = [len(owned) for owned in population.classes]
    assert max(sizes) - min(sizes) <= 1


@settings(max_examples=50)
@given(populations(), st.data())
def test_an_episode_is_of_own_classes_with_distinct_drawings(population, data):
    device = data.draw(st.integers(0, len(population) - 1))
    episode = population.sample(device, np.random.default_rng(data.draw(st.integers(0, 2**32))))
    pictures = [*episode.support_x, *episode.query_x]
    labels = [*episode.support_y.tolist(), *episode.query_y.tolist()]
    identities = [identify(picture) for picture in pictures]
    assert len(set(identities)) == len(identities)
    owned = {tuple(row) for row in population.classes[device].tolist()}
    classes = {label: set() for label in range(population.ways)}
    for (character, turns, _), label in zip(identities, labels, strict=True):
        assert (character, turns) in owned
        classes[label].add((character, turns))
    assert all(len(found) == 1 for found in classes.values())
    assert len(set.union(*classes.values())) == population.ways
    assert labels.count(0) == population.shots + population.queries


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32))
def test_sinusoid_devices_stay_inside_their_own_ranges(num_devices, num_new_devices, seed):
    family = build_family(
        "sinusoid",
        num_devices=num_devices,
        num_new_devices=num_new_devices,
        ways=1,
        shots=3,
        queries=9,
        seed=seed,
    )
    assert (len(family.train), len(family.heldout)) == (num_devices, num_new_devices)
    low = np.concatenate([family.train.low, family.heldout.low])
    assert len(np.unique(low.round(9), axis=0)) == num_devices + num_new_devices
    for population in (family.train, family.heldout):
        device = seed % len(population)
        episode = population.sample(device, np.random.default_rng(seed))
        x, y = (
            np.concatenate(pair).ravel()
            for pair in (
                (episode.support_x, episode.query_x),
                (episode.support_y, episode.query_y),
            )
        )
        # y = c sin x + s cos x with c = A cos(phase), s = -A sin(phase), solved by least squares.
        (c, s), *_ = np.linalg.lstsq(np.stack([np.sin(x), np.cos(x)], axis=1), y, rcond=None)
        found = np.array([np.hypot(c, s), np.arctan2(-s, c)])
        assert (found > population.low[device] - 1e-2).all()
        assert (found < population.high[device] + 1e-2).all()
