"""Omniglot: 1,623 handwritten characters of 50 alphabets, each drawn by 20 people.

Source: Lake, Salakhutdinov, Tenenbaum, "Human-level concept learning through probabilistic program
induction", Science 350 (2015). Background alphabets train, evaluation alphabets are held out.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import logging
import os
import tempfile
import urllib.request
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fl_core.errors import InputError
from fl_core.tasks.characters import CharacterSet

SIDE = 28
SOURCE = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python"
MD5 = {
    "images_background": "68d2efa1b9178cc56df9314c21c6e718",
    "images_evaluation": "6b91aef0f799c5bb55b94e3f2daec811",
}
HOW_TO_FETCH = "fetch it with `airmeta data omniglot`, or set task.data or AIRMETA_DATA"
# Everything that PIL, zipfile and the file system raise for data that is damaged or not there.
_UNREADABLE = (
    *(OSError, RuntimeError, SyntaxError, ValueError, EOFError),
    *(zlib.error, zipfile.BadZipFile, Image.DecompressionBombError),
)

_log = logging.getLogger(__name__)


def cache_directory() -> Path:
    """Home of downloads and decoded pictures: $XDG_CACHE_HOME/airmeta or ~/.cache/airmeta."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "airmeta"


def default_directory() -> Path:
    """Where `download` puts the archives unless told otherwise."""
    return cache_directory() / "omniglot"


def locate(data: str | Path | None = None) -> Path:
    """The folder with the archives: `data`, else $AIRMETA_DATA, else the default one.

    Each may be the folder itself or a parent of one named ``omniglot``.

    Raises:
        InputError: there are no archives; says where it looked and how to get them.
    """
    environment = os.environ.get("AIRMETA_DATA")
    if data is not None:
        said, place = "task.data", Path(data)
    elif environment:
        said, place = "AIRMETA_DATA", Path(environment)
    else:
        said, place = "the default folder", default_directory()
    try:
        place = place.expanduser()
        for folder in (place, place / "omniglot"):
            if any((folder / f"{part}{end}").exists() for part in MD5 for end in (".zip", "")):
                return folder
    except (OSError, RuntimeError) as error:
        raise InputError(f"{said} = {place} cannot be read ({error}); {HOW_TO_FETCH}") from error
    missing = "has no images_background.zip" if place.is_dir() else "is not a folder"
    raise InputError(f"no Omniglot: {said} = {place} {missing}; {HOW_TO_FETCH}")


def load(data: str | Path | None = None) -> tuple[CharacterSet, CharacterSet]:
    """Training and held-out characters, from archives or from folders unpacked from them.

    Pictures of any size become 28x28. Decoded pictures are kept in `cache_directory`.

    Raises:
        InputError: data missing, damaged or incomplete; names the file.
    """
    folder = locate(data)
    background, evaluation = (_load_part(folder, part) for part in MD5)
    return background, evaluation


def download(directory: Path, source: str = SOURCE) -> list[Path]:
    """Fetch both official archives, unless they are there, and check them.

    A file appears under its name only when it is complete and its checksum is right.

    Raises:
        InputError: no network, an unwritable directory, or a wrong checksum.
    """
    fetched = []
    for part, md5 in MD5.items():
        target = directory / f"{part}.zip"
        url = f"{source}/{part}.zip"
        fetched.append(target)
        if target.exists() and _md5(target.read_bytes()) == md5:
            _log.info("%s is complete", target)
            continue
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with urllib.request.urlopen(url, timeout=60) as answer:
                content: bytes = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise InputError(
                f"cannot fetch {url} to {directory}: {error}; on a machine without a network copy "
                f"{part}.zip there by hand"
            ) from error
        found = _md5(content)
        if found != md5:
            raise InputError(f"{url} has md5 {found}, the official archive {md5}: try again later")
        _write(target, content)
    return fetched


def _load_part(folder: Path, part: str) -> CharacterSet:
    archive = folder / f"{part}.zip"
    source = archive if archive.exists() else folder / part
    if not source.exists():
        raise InputError(f"{archive} is missing; {HOW_TO_FETCH}")
    try:
        cache = cache_directory() / f"{part}-{_fingerprint(source)}.npz"
        cached = _read_cache(cache)
        if cached is not None:
            return cached
        if source == archive:
            with zipfile.ZipFile(archive) as opened:
                characters = _decode(source, _members(opened))
        else:
            characters = _decode(source, _files(source))
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{source} is damaged or unreadable ({error}); {HOW_TO_FETCH}") from error
    _write_cache(cache, characters)
    return characters


def _members(archive: zipfile.ZipFile) -> Iterator[tuple[str, bytes]]:
    """Pictures of an archive in the order in which it holds them: one pass, no seeks."""
    for entry in archive.infolist():
        name = entry.filename
        if name.endswith(".png") and not name.startswith("__MACOSX"):
            try:
                yield name, archive.read(entry)
            except _UNREADABLE as error:
                raise InputError(f"{archive.filename}: {name} is damaged ({error})") from error


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.glob("*/*/*.png")):
        yield path.relative_to(folder.parent).as_posix(), path.read_bytes()


def _decode(source: Path, pictures: Iterable[tuple[str, bytes]]) -> CharacterSet:
    drawings: dict[tuple[str, str], dict[str, NDArray[np.uint8]]] = defaultdict(dict)
    for name, content in pictures:
        try:
            *_, alphabet, character, drawing = name.split("/")
        except ValueError as error:
            raise InputError(
                f"{source}: {name} is not at <alphabet>/<character>/<drawing>.png"
            ) from error
        try:
            drawings[alphabet, character][drawing] = decode_picture(content)
        except _UNREADABLE as error:
            raise InputError(f"{source}: {name} is not a readable picture ({error})") from error
    if not drawings:
        raise InputError(f"{source} holds no pictures; {HOW_TO_FETCH}")
    _check_complete(source, drawings)
    classes = sorted(drawings)
    images = np.stack([[drawings[c][name] for name in sorted(drawings[c])] for c in classes])
    return CharacterSet(images, tuple(alphabet for alphabet, _ in classes))


def decode_picture(content: bytes) -> NDArray[np.uint8]:
    """uint8 [28, 28], ink 255 on 0, from a file with black ink on white."""
    with Image.open(io.BytesIO(content)) as picture:
        grey = picture.convert("L")
    if grey.size != (SIDE, SIDE):
        grey = grey.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return 255 - np.asarray(grey, np.uint8)


def _check_complete(
    source: Path, drawings: Mapping[tuple[str, str], Mapping[str, NDArray[np.uint8]]]
) -> None:
    most = max(len(found) for found in drawings.values())
    for (alphabet, character), found in drawings.items():
        if len(found) < most:
            raise InputError(
                f"{source}: {alphabet}/{character} has {len(found)} drawings, other characters "
                f"have {most}, and shots + queries are drawn from them; {HOW_TO_FETCH}"
            )


def _fingerprint(source: Path) -> str:
    """Changes whenever an archive, or a file below a folder, does."""
    if source.is_file():
        return _md5(source.read_bytes())
    paths = sorted(source.glob("*/*/*.png"))
    states = ((path, path.stat()) for path in paths)
    lines = (f"{path} {state.st_size} {state.st_mtime_ns}" for path, state in states)
    return _md5("\n".join(lines).encode())


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _read_cache(path: Path) -> CharacterSet | None:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as kept:
            return CharacterSet(kept["images"], tuple(str(name) for name in kept["alphabets"]))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (*_UNREADABLE, KeyError, TypeError) as error:
        _log.warning("the cache %s is damaged, decoding again: %s", path, error)
        return None


def _write_cache(path: Path, characters: CharacterSet) -> None:
    content = io.BytesIO()
    np.savez(content, images=characters.images, alphabets=np.array(characters.alphabets))
    try:
        _write(path, content.getvalue())
    except InputError as error:
        _log.warning("decoded pictures are not kept: %s", error)


def _write(path: Path, content: bytes) -> None:
    """All of the file or nothing of it, also when two processes write at once."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        unfinished = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(content)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error}") from error
