"""Which radios there are: what those drivers have found that can look for theirs."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from radio.api import RadioError
from radio.registry import DRIVERS, RadioUri, driver_of


@dataclass(frozen=True)
class Found:
    """A radio that answered.

    Attributes:
        uri: opens it.
        about: what it told of itself, as `Radio.describe`.
    """

    uri: str
    about: Mapping[str, str]


@dataclass(frozen=True)
class Gap:
    """Where a radio may be that was not found.

    Attributes:
        place: an address, or a way by which radios are reached.
        why: it was not found there.
        remedy: what to do about it.
    """

    place: str
    why: str
    remedy: str


@dataclass(frozen=True)
class Search:
    """What came of looking for radios.

    Attributes:
        found: those that answered.
        gaps: where nobody could look, or no answer came.
        advice: what to check where none was found.
    """

    found: tuple[Found, ...] = ()
    gaps: tuple[Gap, ...] = ()
    advice: tuple[str, ...] = ()


def find_radios(uris: Sequence[str] = ()) -> Search:
    """Look for radios with every driver that can; nothing is set and nothing sent.

    A finder is a module with a function `find`, from addresses, none for anywhere, to a `Search`.

    Args:
        uris: only these, which need not be of a kind that would be found.

    Raises:
        RadioError: one of them is no URI, or of a kind that nobody can look for.
    """
    asked: dict[str, list[str]] = {}
    for uri in map(RadioUri.parse, uris):
        if driver_of(uri).finder is None:
            kinds = ", ".join(f"{scheme}://" for scheme, each in DRIVERS.items() if each.finder)
            raise RadioError(f"{uri} is none of {kinds}, which can be looked for; open it instead")
        asked.setdefault(uri.scheme, []).append(uri.address)
    if not uris:
        asked = {scheme: [] for scheme, driver in DRIVERS.items() if driver.finder}
    searches = [_search(scheme, addresses) for scheme, addresses in asked.items()]
    return Search(
        found=tuple(found for each in searches for found in each.found),
        gaps=tuple(gap for each in searches for gap in each.gaps),
        advice=tuple(line for each in searches for line in each.advice),
    )


def search(scheme: str, addresses: Sequence[str]) -> Search:
    """What the finder of a scheme finds, whose SDK this interpreter has."""
    finder = importlib.import_module(str(DRIVERS[scheme].finder))
    found: Search = finder.find(addresses)
    return found


def _search(scheme: str, addresses: list[str]) -> Search:
    needs = DRIVERS[scheme].needs
    why = None if needs is None else needs.fault()
    if needs is None or why is None:
        return search(scheme, addresses)
    if not needs.elsewhere:
        return Search(gaps=(Gap(f"{scheme}:// radios", f"{needs.module} {why}", needs.install),))
    elsewhere = importlib.import_module("radio.elsewhere")
    try:
        found: Search = elsewhere.find_elsewhere(scheme, addresses, needs)
    except RadioError as error:
        return Search(gaps=(Gap(f"{scheme}:// radios", str(error), needs.install),))
    return found
