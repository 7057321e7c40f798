import stat

import pytest

from radio.api import RadioError
from radio.keys import Keys, allow, new_pairs, read_allowed


def test_a_pair_is_read_back_and_its_secret_is_private(tmp_path):
    folder = tmp_path / "keys"
    secret, public = new_pairs(folder, ["d3", "rx"])["d3"]
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    keys = Keys.read(folder / "d3.secret")
    assert keys.public == public.read_text().strip()
    assert set(keys.allowed) == {"d3", "rx"}
    assert keys.secret == secret.read_text().strip()
    assert keys.secret not in repr(keys)
    assert sorted(p.name for p in folder.iterdir()) == [
        "d3.public",
        "d3.secret",
        "rx.public",
        "rx.secret",
    ]


def test_nothing_is_overwritten(tmp_path):
    new_pairs(tmp_path, ["d3"])
    before = (tmp_path / "d3.secret").read_text()
    with pytest.raises(RadioError, match="exists; delete both files of d3"):
        new_pairs(tmp_path, ["d4", "d3"])
    assert (tmp_path / "d3.secret").read_text() == before
    assert not (tmp_path / "d4.secret").exists()


def test_a_secret_that_others_can_read_is_no_secret(tmp_path):
    secret, _ = new_pairs(tmp_path, ["d3"])["d3"]
    secret.chmod(0o640)
    with pytest.raises(RadioError, match="chmod 600"):
        Keys.read(tmp_path / "d3.secret")


@pytest.mark.parametrize("damage", [b"", b"short", b"~" * 40, b"#" * 40, b"\xff" * 40])
def test_damaged_files_are_named(tmp_path, damage):
    new_pairs(tmp_path, ["d3"])
    (tmp_path / "d4.public").write_bytes(damage)
    with pytest.raises(RadioError, match=r"d4\.public: is no key"):
        Keys.read(tmp_path / "d3.secret")


def test_only_a_secret_file_is_read_as_one(tmp_path):
    _, public = new_pairs(tmp_path, ["d3"])["d3"]
    (tmp_path / "d5.secret").mkdir(mode=0o700)
    for path, says in (
        (public, "should be the file NAME.secret"),
        (tmp_path, "should be the file NAME.secret"),
        (tmp_path / "no name.secret", "is no name of a node"),
        (tmp_path / "d4.secret", "is missing; `airmeta keys new d4 --out "),
        (public / "d4.secret", "cannot be read"),
        (tmp_path / "d5.secret", "cannot be read"),
    ):
        with pytest.raises(RadioError, match=says):
            Keys.read(path)


def test_mixed_up_files_are_named(tmp_path):
    new_pairs(tmp_path, ["d3", "d4"])
    (tmp_path / "d3.public").write_text((tmp_path / "d4.public").read_text())
    with pytest.raises(RadioError, match="d3 has this key already"):
        Keys.read(tmp_path / "d3.secret")
    (tmp_path / "d4.public").unlink()
    with pytest.raises(RadioError, match="does not belong to"):
        Keys.read(tmp_path / "d3.secret")


def test_allowing_a_node_of_another_host(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    new_pairs(here, ["coordinator"])
    _, public = new_pairs(there, ["d3"])["d3"]
    for _ in range(2):  # again is fine
        assert allow(here, public) == "d3"
    assert read_allowed(here)["d3"] == public.read_text().strip()
    assert not (here / "d3.secret").exists()


def test_who_is_not_allowed(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    new_pairs(here, ["d3"])
    secret, public = new_pairs(there, ["d3"])["d3"]
    (there / "d4.public").write_text((here / "d3.public").read_text())
    (there / "no name.public").write_text(public.read_text())
    for path, says in (
        (secret, "should be the file NAME.public"),
        (public, "is another key of d3; delete it first"),
        (there / "d4.public", "d3 has this key already; one key is one node"),
        (there / "no name.public", "is no name of a node"),
        (there / "d9.public", "cannot be read"),
    ):
        with pytest.raises(RadioError, match=says):
            allow(here, path)
    assert set(read_allowed(here)) == {"d3"}


@pytest.mark.parametrize("name", ["", "../d3", "a b", "-d", "d" * 65, "d3\n"])
def test_names_are_names(tmp_path, name):
    with pytest.raises(RadioError, match="is no name of a node"):
        new_pairs(tmp_path / "keys", [name])
    assert not (tmp_path / "keys").exists()
