import pickle

import numpy as np
import pytest
import torch

from fl_core.errors import InputError
from fl_core.tasks import build_family, characters, glyphs, omniglot
from fl_core.tasks.characters import CharacterPopulation, CharacterSet
from fl_core.tasks.sinusoid import SinusoidPopulation

SIZES = {"num_devices": 20, "num_new_devices": 10, "ways": 5, "shots": 1, "queries": 5, "seed": 0}


def numbered(classes=12, drawings=6, alphabets=3) -> CharacterSet:
    """Pictures that tell in their corner pixels which class and drawing they are."""
    images = np.zeros((classes, drawings, 28, 28), np.uint8)
    images[:, :, 0, 0] = 10 + np.arange(classes)[:, None]
    images[:, :, 0, 1] = 10 + np.arange(drawings)
    return CharacterSet(images, tuple(f"a{c * alphabets // classes}" for c in range(classes)))


def shared_out(drawn=None, *, seed=0, **changes) -> CharacterPopulation:
    settings = {"num_devices": 3, "ways": 3, "shots": 2, "queries": 3}
    settings |= {"rotations": True, "partition": "random"} | changes
    return characters.populate(drawn or numbered(), rng=np.random.default_rng(seed), **settings)


def test_episode_has_the_shapes_and_types_of_the_interface():
    episode = shared_out().sample(1, np.random.default_rng(0))
    assert episode.support_x.shape == (6, 1, 28, 28)
    assert episode.query_x.shape == (9, 1, 28, 28)
    assert episode.support_x.dtype == episode.query_x.dtype == torch.float32
    assert episode.support_y.dtype == episode.query_y.dtype == torch.int64
    assert episode.support_y.tolist() == [0, 0, 1, 1, 2, 2]
    assert episode.query_y.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_rotation_turns_a_known_picture_by_quarter_turns():
    images = np.zeros((2, 2, 28, 28), np.uint8)
    images[:, :, 2, 5] = 255  # row 2, column 5
    drawn = CharacterSet(images, ("a", "a"))
    # A quarter turn against the clock takes (row, column) to (27 - column, row).
    where = {0: (2, 5), 1: (22, 2), 2: (25, 22), 3: (5, 25)}
    for turns, pixel in where.items():
        owned = np.array([[0, turns], [1, turns]])
        population = CharacterPopulation(drawn, (owned,), ways=2, shots=1, queries=1)
        picture = population.sample(0, np.random.default_rng(0)).query_x[0, 0]
        assert picture.nonzero().tolist() == [list(pixel)]
        assert picture[pixel] == 1.0


def test_every_class_and_drawing_comes_up_equally_often():
    population = shared_out(num_devices=1, rotations=False)
    rng = np.random.default_rng(1)
    counts = np.zeros((12, 6))
    for _ in range(2000):
        first = population.sample(0, rng).support_x[0, 0, 0, :2] * 255
        counts[int(first[0].round()) - 10, int(first[1].round()) - 10] += 1
    expected = 2000 / counts.size
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert chi_squared < 110  # 71 degrees of freedom: 0.2 % of fair draws exceed this


def test_alphabet_partition_keeps_neighbouring_devices_to_few_alphabets():
    population = shared_out(numbered(), num_devices=3, partition="alphabet")
    seen = [
        {population.characters.alphabets[c] for c, _ in owned.tolist()}
        for owned in population.classes
    ]
    assert seen == [{"a0"}, {"a1"}, {"a2"}]
    mixed = shared_out(numbered(), num_devices=3, partition="random")
    assert {population.characters.alphabets[c] for c in mixed.classes[0][:, 0]} == {
        "a0",
        "a1",
        "a2",
    }


def test_without_rotations_all_pictures_are_upright():
    assert {t for owned in shared_out(rotations=False).classes for t in owned[:, 1]} == {0}


def test_population_pickles_to_the_same_draws_without_growing():
    population = shared_out(glyphs.load()[0], num_devices=30)
    content = pickle.dumps(population)
    assert len(content) < population.characters.images.nbytes + 100_000
    copy = pickle.loads(content)
    one, two = (p.sample(4, np.random.default_rng(9)) for p in (population, copy))
    assert torch.equal(one.query_x, two.query_x)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shots": 4, "queries": 3}, r"shots \+ queries = 4 \+ 3 exceeds the 6 drawings"),
        ({"num_devices": 17}, "17 devices cannot own 3 classes each.* 1 to 16 devices"),
        ({"num_devices": 0}, "0 devices"),
        ({"ways": 1}, "ways must be at least 2"),
        ({"ways": 0}, "ways must be at least 2"),
        ({"shots": 0}, "shots and queries at least 1"),
        ({"partition": "alphabets"}, "'random' or 'alphabet'"),
    ],
)
def test_tasks_that_cannot_be_drawn_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        shared_out(**changes)


def test_character_set_checks_what_it_is_given():
    with pytest.raises(ValueError, match="uint8"):
        CharacterSet(np.zeros((2, 3, 28, 28)), ("a", "b"))
    with pytest.raises(ValueError, match="1 alphabet names for 2 classes"):
        CharacterSet(np.zeros((2, 3, 28, 28), np.uint8), ("a",))


class TestGlyphs:
    def test_alphabets_are_disjoint_and_complete(self):
        training, heldout = glyphs.load()
        for part in (training, heldout):
            assert part.images.shape == (480, 20, 28, 28)
            assert len(set(part.alphabets)) == 24
        assert not set(training.alphabets) & set(heldout.alphabets)

    def test_a_seed_names_the_same_pictures_and_another_seed_others(self):
        one, two, other = (glyphs.write_alphabet(np.random.default_rng(s)) for s in (5, 5, 6))
        assert np.array_equal(one, two)
        assert not np.array_equal(one, other)

    def test_every_drawing_has_ink_inside_its_margin(self):
        for part in glyphs.load():
            ink = part.images / 255
            share = ink.mean(axis=(2, 3))
            assert share.min() > 0.002
            assert share.max() < 0.4
            assert 0.06 < share.mean() < 0.13
            assert part.images[..., [0, -1], :].max() == part.images[..., [0, -1]].max() == 0

    def test_drawings_of_a_character_vary_but_resemble_each_other(self):
        images = glyphs.load()[1].images.astype(np.float32) / 255
        assert len(np.unique(images.reshape(-1, 784), axis=0)) == 480 * 20
        family = build_family("glyphs", **SIZES)
        rng = np.random.default_rng(0)
        hits = []
        for task in range(100):
            episode = family.heldout.sample(task % 10, rng)
            distance = torch.cdist(episode.query_x.flatten(1), episode.support_x.flatten(1))
            hits.append((distance.argmin(1) == episode.query_y).float().mean())
        # Nearest neighbour by pixels: well above chance (0.2), and far from solving it.
        assert 0.3 < np.mean(hits) < 0.6


class TestSinusoid:
    def test_targets_are_the_sine_of_the_inputs(self):
        population = SinusoidPopulation(
            np.array([[2.0, 1.0]]), np.array([[2.0, 1.0]]), shots=5, queries=7
        )
        episode = population.sample(0, np.random.default_rng(0))
        assert episode.support_x.shape == episode.support_y.shape == (5, 1)
        assert episode.query_x.shape == episode.query_y.shape == (7, 1)
        assert episode.query_y.dtype == torch.float32
        torch.testing.assert_close(episode.query_y, 2 * torch.sin(episode.query_x - 1))
        assert episode.query_x.abs().max() <= 5

    def test_ranges_of_devices_cover_the_published_ones_without_overlap(self):
        family = build_family("sinusoid", **SIZES | {"num_devices": 20, "num_new_devices": 5})
        low = np.concatenate([family.train.low, family.heldout.low])
        high = np.concatenate([family.train.high, family.heldout.high])
        area = (high - low).prod(axis=1).sum()
        assert area == pytest.approx(4.9 * np.pi)  # 25 cells tile all of the rectangle
        assert low.min(axis=0) == pytest.approx([0.1, 0.0])
        assert high.max(axis=0) == pytest.approx([5.0, np.pi])
        apart = (high[:, None] <= low[None] + 1e-9) | (high[None] <= low[:, None] + 1e-9)
        assert (apart.any(axis=2) | np.eye(25, dtype=bool)).all()

    @pytest.mark.parametrize("changes", [{"shots": 0}, {"queries": 0}, {"num_new_devices": 0}])
    def test_impossible_numbers_are_refused(self, changes):
        with pytest.raises(InputError, match="at least 1"):
            build_family("sinusoid", **SIZES | changes)


class TestBuildFamily:
    def test_describes_its_tasks(self):
        family = build_family("glyphs", **SIZES)
        assert (family.name, family.kind) == ("glyphs", "classification")
        assert (family.input_shape, family.num_outputs) == ((1, 28, 28), 5)
        assert (len(family.train), len(family.heldout)) == (20, 10)
        regression = build_family("sinusoid", **SIZES)
        assert (regression.input_shape, regression.num_outputs) == ((1,), 1)
        assert regression.kind == "regression"

    def test_seed_decides_who_owns_what(self):
        one, same, other = (build_family("glyphs", **SIZES | {"seed": s}) for s in (0, 0, 1))
        assert all(map(np.array_equal, one.train.classes, same.train.classes))
        assert not np.array_equal(one.train.classes[0], other.train.classes[0])

    def test_omniglot_reads_the_folder_it_is_given(self, tmp_path, monkeypatch):
        asked = []
        monkeypatch.setattr(
            omniglot, "load", lambda data: asked.append(data) or (numbered(), numbered())
        )
        sizes = SIZES | {"num_devices": 4, "num_new_devices": 2}
        family = build_family("omniglot", data=tmp_path, **sizes)
        assert asked == [tmp_path]
        assert family.name == "omniglot"

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("omnigloth", "did you mean 'omniglot'"),
            ("sine", "did you mean 'sinusoid'"),
            ("xyz", "There are: omniglot, glyphs, sinusoid"),
        ],
    )
    def test_unknown_name_gets_the_nearest_one(self, name, message):
        with pytest.raises(InputError, match=message):
            build_family(name, **SIZES)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"shots": 15, "queries": 6}, "exceeds the 20 drawings"),
            ({"num_devices": 500}, "500 devices cannot own 5 classes each"),
            ({"num_new_devices": 500}, "500 devices cannot own 5 classes each"),
        ],
    )
    def test_numbers_that_do_not_fit_are_refused(self, changes, message):
        with pytest.raises(InputError, match=message):
            build_family("glyphs", **SIZES | changes)
