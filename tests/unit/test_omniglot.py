import http.client
import io
import os
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fl_core.errors import InputError
from fl_core.tasks import build_family, omniglot
from fl_core.tasks.characters import CharacterSet

PARTS = ("images_background", "images_evaluation")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    cache = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    return cache / "airmeta"


@pytest.fixture(scope="module")
def real():
    data = os.environ.get("AIRMETA_DATA")
    if not data or not Path(data).is_dir():
        reason = f"AIRMETA_DATA={data}: no folder with the Omniglot archives"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return omniglot.locate()


@pytest.fixture(scope="module")
def real_sets(real, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return omniglot.load(real)


def png(stroke: int, side: int = 105) -> bytes:
    """Black on white, one bit a pixel, as the official pictures are."""
    picture = Image.new("1", (side, side), 1)
    ImageDraw.Draw(picture).line((10, 10 + stroke, side - 20, side // 2), fill=0, width=3)
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


def pictures(part: str, alphabets: int = 2, characters: int = 3, drawings: int = 4):
    return {
        f"{part}/Alphabet{a}/character{c:02d}/{a}{c}_{d:02d}.png": png(5 * c + d)
        for a in range(alphabets)
        for c in range(characters)
        for d in range(drawings)
    }


def write_zip(folder: Path, part: str, members: dict[str, bytes]) -> Path:
    path = folder / f"{part}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "omniglot"
    place.mkdir()
    for part in PARTS:
        write_zip(place, part, pictures(part))
    return place


def same(one: CharacterSet, other: CharacterSet) -> bool:
    return one.alphabets == other.alphabets and np.array_equal(one.images, other.images)


class TestRealArchives:
    def test_has_the_published_numbers_of_alphabets_characters_and_drawings(self, real_sets):
        background, evaluation = real_sets
        assert background.images.shape == (964, 20, 28, 28)
        assert evaluation.images.shape == (659, 20, 28, 28)
        assert len(set(background.alphabets)) == 30
        assert len(set(evaluation.alphabets)) == 20
        assert not set(background.alphabets) & set(evaluation.alphabets)

    def test_pictures_equal_a_direct_read_of_the_archive(self, real, real_sets):
        for part, characters in zip(PARTS, real_sets, strict=True):
            with zipfile.ZipFile(real / f"{part}.zip") as archive:
                names = sorted(n for n in archive.namelist() if n.endswith(".png"))
                for index in range(0, len(names), 997):
                    picture = Image.open(io.BytesIO(archive.read(names[index]))).convert("L")
                    ink = 255 - np.array(picture.resize((28, 28), Image.Resampling.LANCZOS))
                    at = divmod(index, 20)
                    assert np.array_equal(characters.images[at], ink)
                    assert characters.alphabets[at[0]] == names[index].split("/")[1]

    def test_ink_is_bright_and_scarce(self, real_sets):
        share = real_sets[0].images.mean() / 255
        assert 0.04 < share < 0.15

    def test_hundred_devices_share_all_turned_characters(self, real, real_sets, monkeypatch):
        monkeypatch.setattr(omniglot, "load", lambda data: real_sets)
        family = build_family(
            "omniglot",
            num_devices=100,
            num_new_devices=50,
            ways=5,
            shots=1,
            queries=5,
            seed=0,
            data=real,
        )
        owned = np.concatenate(family.train.classes)
        assert len(np.unique(owned, axis=0)) == len(owned) == 964 * 4


def centre(ink):
    """Of gravity, as a fraction of the sides."""
    rows, columns = np.indices(ink.shape) + 0.5
    return [(axis * ink).sum() / ink.sum() / len(ink) for axis in (rows, columns)]


def test_large_pictures_shrink_to_28_antialiased_with_bright_ink(folder):
    background, _ = omniglot.load(folder)
    assert background.images.shape == (6, 4, 28, 28)
    assert background.alphabets == ("Alphabet0",) * 3 + ("Alphabet1",) * 3
    image = background.images[0, 0]
    assert image.max() > 150
    assert image[-3:].max() == 0
    assert len(np.unique(image)) > 8
    full = ~np.array(Image.open(io.BytesIO(png(0))))
    assert centre(image) == pytest.approx(centre(full), abs=0.003)


def test_folders_and_archives_hold_the_same(folder, tmp_path):
    unpacked = tmp_path / "unpacked"
    for part in PARTS:
        with zipfile.ZipFile(folder / f"{part}.zip") as archive:
            archive.extractall(unpacked)
    for one, other in zip(omniglot.load(folder), omniglot.load(unpacked), strict=True):
        assert same(one, other)


def test_classes_do_not_depend_on_the_order_in_an_archive(folder, tmp_path):
    shuffled = tmp_path / "shuffled"
    shuffled.mkdir()
    for part in PARTS:
        write_zip(shuffled, part, dict(reversed(pictures(part).items())))
    assert same(omniglot.load(folder)[0], omniglot.load(shuffled)[0])


def test_location_is_argument_then_environment_then_cache(folder, monkeypatch, own_cache, tmp_path):
    default = own_cache / "omniglot"
    default.mkdir(parents=True)
    (default / "images_background.zip").touch()
    monkeypatch.delenv("AIRMETA_DATA", raising=False)
    assert omniglot.locate() == default
    monkeypatch.setenv("AIRMETA_DATA", str(folder))
    assert omniglot.locate() == folder
    monkeypatch.setenv("AIRMETA_DATA", str(folder.parent))
    assert omniglot.locate() == folder
    monkeypatch.setenv("AIRMETA_DATA", str(tmp_path / "elsewhere"))
    assert omniglot.locate(folder) == folder


def test_missing_data_says_where_it_looked_and_how_to_get_it(monkeypatch, tmp_path):
    with pytest.raises(InputError, match=r"task\.data = .*gone is not a folder.*airmeta data"):
        omniglot.load(tmp_path / "gone")
    with pytest.raises(InputError, match="has no images_background"):
        omniglot.load(tmp_path)
    monkeypatch.setenv("AIRMETA_DATA", str(tmp_path / "unset"))
    with pytest.raises(InputError, match=r"AIRMETA_DATA = .*unset"):
        omniglot.load()
    monkeypatch.delenv("AIRMETA_DATA")
    with pytest.raises(InputError, match="the default folder"):
        omniglot.load()


@pytest.mark.parametrize("place", ["x" * 300, "~nobody-of-that-name/data"])
def test_impossible_path_is_an_input_error(place):
    with pytest.raises(InputError, match=r"task\.data = .* cannot be read"):
        omniglot.load(place)


def test_missing_evaluation_archive_is_named(folder):
    (folder / "images_evaluation.zip").unlink()
    with pytest.raises(InputError, match=r"images_evaluation\.zip is missing"):
        omniglot.load(folder)


def test_truncated_archive_is_named(folder):
    archive = folder / "images_evaluation.zip"
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    with pytest.raises(InputError, match=r"images_evaluation\.zip is damaged.*airmeta data"):
        omniglot.load(folder)


def test_damaged_member_is_named(folder):
    archive = folder / "images_background.zip"
    content = bytearray(archive.read_bytes())
    at = content.index(png(0))
    content[at + 60] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(InputError, match=r"images_background\.zip: .*00_00\.png is damaged"):
        omniglot.load(folder)


@pytest.mark.parametrize("content", [b"", b"not a picture", png(0)[:70], png(0)[:-30]])
def test_unreadable_picture_is_named(folder, content):
    members = pictures(PARTS[0])
    name = list(members)[7]
    write_zip(folder, PARTS[0], members | {name: content})
    with pytest.raises(InputError, match=f"{name} is not a readable picture"):
        omniglot.load(folder)


def test_character_with_fewer_drawings_is_named(folder):
    members = pictures(PARTS[0])
    del members["images_background/Alphabet1/character02/12_03.png"]
    write_zip(folder, PARTS[0], members)
    with pytest.raises(InputError, match=r"Alphabet1/character02 has 3 drawings.* have 4"):
        omniglot.load(folder)


def test_archive_without_pictures_or_with_strange_paths_is_refused(folder):
    write_zip(folder, PARTS[0], {"README.md": b"nothing"})
    with pytest.raises(InputError, match="holds no pictures"):
        omniglot.load(folder)
    write_zip(folder, PARTS[0], {"one.png": png(0)})
    with pytest.raises(InputError, match=r"one\.png is not at <alphabet>"):
        omniglot.load(folder)


def test_decoded_pictures_are_kept_and_not_decoded_twice(folder, own_cache, monkeypatch):
    first = omniglot.load(folder)
    assert len(list(own_cache.glob("*.npz"))) == 2

    def fail(content):
        raise AssertionError("decoded again")

    monkeypatch.setattr(omniglot, "decode_picture", fail)
    assert all(same(a, b) for a, b in zip(first, omniglot.load(folder), strict=True))


@pytest.mark.parametrize("kind", ["archive", "folder"])
def test_cache_follows_changed_data(folder, kind):
    if kind == "folder":
        for part in PARTS:
            with zipfile.ZipFile(folder / f"{part}.zip") as archive:
                archive.extractall(folder)
            (folder / f"{part}.zip").unlink()
    before = omniglot.load(folder)[0]
    if kind == "folder":
        (folder / "images_background/Alphabet0/character00/00_00.png").write_bytes(png(40))
    else:
        write_zip(folder, PARTS[0], pictures(PARTS[0], characters=5))
    assert not same(before, omniglot.load(folder)[0])


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "foreign", "bare"])
def test_damaged_cache_is_rebuilt(folder, own_cache, caplog, damage):
    first = omniglot.load(folder)[0]
    cache = next(own_cache.glob("images_background-*.npz"))
    content = bytearray(cache.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "flip":
        content[len(content) // 2] ^= 0xFF
    elif damage == "empty":
        content.clear()
    cache.write_bytes(content)
    if damage == "foreign":
        with cache.open("wb") as opened:
            np.savez(opened, images=np.zeros(3))
    elif damage == "bare":
        with cache.open("wb") as opened:
            np.save(opened, np.zeros(3))
    assert same(first, omniglot.load(folder)[0])
    assert "decoding again" in caplog.text
    caplog.clear()
    assert same(first, omniglot.load(folder)[0])
    assert not caplog.text


def test_unwritable_cache_only_warns(folder, own_cache, caplog):
    own_cache.parent.mkdir()
    own_cache.write_text("a file where the folder should be")
    omniglot.load(folder)
    assert "are not kept" in caplog.text


class TestDownload:
    @pytest.fixture
    def official(self, folder, monkeypatch):
        """The fake archives served by file:// URLs, as if they were the official ones."""
        sums = {p: omniglot._md5((folder / f"{p}.zip").read_bytes()) for p in PARTS}
        monkeypatch.setattr(omniglot, "MD5", sums)
        return folder.as_uri()

    def test_fetches_what_load_reads(self, official, tmp_path):
        target = tmp_path / "new" / "omniglot"
        fetched = omniglot.download(target, official)
        assert fetched == [target / f"{part}.zip" for part in PARTS]
        assert sorted(target.iterdir()) == sorted(fetched)
        assert len(omniglot.load(target)[0].images) == 6

    def test_keeps_complete_files_and_replaces_broken_ones(self, official, tmp_path):
        background, evaluation = omniglot.download(tmp_path, official)
        stamp = background.stat().st_mtime_ns
        evaluation.write_bytes(b"broken")
        omniglot.download(tmp_path, official)
        assert background.stat().st_mtime_ns == stamp
        assert zipfile.is_zipfile(evaluation)

    def test_wrong_checksum_leaves_nothing(self, folder, tmp_path):
        target = tmp_path / "target"
        with pytest.raises(InputError, match=f"official archive {omniglot.MD5[PARTS[0]]}"):
            omniglot.download(target, folder.as_uri())
        assert not list(target.iterdir())

    def test_no_network_is_one_clear_message(self, tmp_path):
        with pytest.raises(InputError, match=r"cannot fetch .* without a network"):
            omniglot.download(tmp_path / "target", (tmp_path / "nowhere").as_uri())

    def test_broken_connection_is_one_clear_message(self, monkeypatch, tmp_path):
        def break_off(url, timeout):
            raise http.client.IncompleteRead(b"half")

        monkeypatch.setattr(urllib.request, "urlopen", break_off)
        with pytest.raises(InputError, match="cannot fetch"):
            omniglot.download(tmp_path)
        assert not list(tmp_path.iterdir())

    def test_unwritable_directory_is_named(self, official, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match="file"):
            omniglot.download(tmp_path / "file", official)

    def test_checksums_are_the_published_ones(self):
        assert omniglot.MD5 == {
            "images_background": "68d2efa1b9178cc56df9314c21c6e718",
            "images_evaluation": "6b91aef0f799c5bb55b94e3f2daec811",
        }
