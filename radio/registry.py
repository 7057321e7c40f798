"""Radios by URI. The registry is data: a new kind is a module and a line of `DRIVERS`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import TypeVar, cast
from urllib.parse import unquote

from radio.api import Radio, RadioError
from radio.limits import LimitedRadio, Limits

Value = TypeVar("Value")
Default = TypeVar("Default")


@dataclass(frozen=True)
class RadioUri:
    """A radio's URI in parts: ``scheme://address?option=value&...``.

    Attributes:
        scheme: which driver.
        address: what the driver finds the radio by: an air, a host, a file; may be empty.
        options: texts by name, read with `option`.
    """

    scheme: str
    address: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))

    @classmethod
    def parse(cls, text: str) -> RadioUri:
        """The parts of `text`, percent-decoded; RadioError where it is no URI."""
        scheme, separator, rest = text.partition("://")
        if not separator or not scheme:
            raise RadioError(f"{text!r} is no radio URI; one looks like sim://air?name=d3")
        address, _, query = rest.partition("?")
        options: dict[str, str] = {}
        for pair in filter(None, query.split("&")):
            name, equals, value = pair.partition("=")
            if not name or not equals:
                raise RadioError(f"{text!r}: option {pair!r} should read name=value")
            if name in options:
                raise RadioError(f"{text!r}: option {name!r} is given twice")
            options[name] = unquote(value)
        return cls(scheme, unquote(address), options)

    def __str__(self) -> str:
        query = "&".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.scheme}://{self.address}" + (f"?{query}" if query else "")

    def option(self, name: str, kind: Callable[[str], Value], default: Default) -> Value | Default:
        """Option `name` read by `kind` (int, float, str, ...), or `default` where it is not given.

        Raises:
            RadioError: `kind` cannot read what is given.
        """
        if name not in self.options:
            return default
        try:
            return kind(self.options[name])
        except ValueError as error:
            raise RadioError(f"{self}: option {name}: {error}") from error

    def require_options(self, *known: str) -> None:
        """RadioError where an option is given that is not `known`; it names the nearest."""
        for name in self.options:
            if name not in known:
                raise RadioError(f"{self} has no option {name!r}; {choices(name, known)}")


@dataclass(frozen=True)
class Needs:
    """What a driver needs beyond numpy, scipy and pyzmq.

    Attributes:
        module: top-level module of the vendor's SDK.
        install: the command that installs it.
        elsewhere: whether another interpreter may have it where this one has not; the radio is
            opened there then, see `radio.elsewhere`.
    """

    module: str
    install: str
    elsewhere: bool = False

    def fault(self) -> str | None:
        """Why the SDK does not load; None where it does.

        Bindings whose library is missing or of another version fail in more ways than ImportError.
        """
        try:
            importlib.import_module(self.module)
        except (ImportError, OSError, AttributeError) as error:
            absent = isinstance(error, ModuleNotFoundError) and error.name == self.module
            return "is not installed" if absent else f"does not load ({error})"
        return None


@dataclass(frozen=True)
class Driver:
    """Where a scheme's radio is made.

    Attributes:
        module: imported when the scheme is first opened.
        factory: function of `module` from a `RadioUri` to an open `Radio`.
        needs: SDK the module imports, if any.
        finder: module that looks for such radios, if any; see `radio.discovery`.
    """

    module: str
    factory: str
    needs: Needs | None = None
    finder: str | None = None


PYZMQ = Needs("zmq", "pip install pyzmq")

PYADI = Needs("adi", "pip install 'pyadi-iio==0.0.21' 'pylibiio>=0.25,<1', and apt install libiio0")

UHD = Needs("uhd", "apt install python3-uhd uhd-host, or conda install uhd", elsewhere=True)

SOAPY = Needs(
    "SoapySDR",
    "apt install python3-soapysdr and the radio's soapysdr-module-*, or conda install -c "
    "conda-forge soapysdr",
    elsewhere=True,
)

DRIVERS: dict[str, Driver] = {
    "file": Driver("radio.drivers.file", "open_file"),
    "gnuradio": Driver("flowgraphs.zmq_radio", "open_flowgraph", PYZMQ),
    "loopback": Driver("radio.drivers.loopback", "open_loopback"),
    "pluto": Driver("radio.drivers.pluto", "open_pluto", PYADI, "radio.drivers.pluto_finder"),
    "sim": Driver("sim_fallback.sim_radio", "open_sim"),
    "soapy": Driver("radio.drivers.soapy", "open_soapy", SOAPY),
    "usrp": Driver("radio.drivers.usrp", "open_usrp", UHD, "radio.drivers.usrp_finder"),
    "zmq+ipc": Driver("radio.drivers.remote", "open_remote", PYZMQ),
    "zmq+tcp": Driver("radio.drivers.remote", "open_remote", PYZMQ),
}


def driver_of(uri: RadioUri) -> Driver:
    """The driver of the URI's scheme; RadioError where there is none."""
    driver = DRIVERS.get(uri.scheme)
    if driver is None:
        raise RadioError(f"no radio has the scheme {uri.scheme!r}; {choices(uri.scheme, DRIVERS)}")
    return driver


def open_radio(uri: str, limits: Limits | None = None) -> Radio:
    """Open the radio at `uri`; with `limits`, behind them.

    Raises:
        RadioError: no such scheme, a wrong option, a missing SDK, or the radio cannot be opened.
    """
    parsed = RadioUri.parse(uri)
    needs = driver_of(parsed).needs
    # First and alone: whatever else does not load is a fault of this installation.
    why = None if needs is None else needs.fault()
    if needs is None or why is None:
        radio = open_here(parsed)
    elif needs.elsewhere:
        radio = importlib.import_module("radio.elsewhere").open_elsewhere(parsed, needs)
    else:
        raise RadioError(f"{parsed.scheme}:// needs {needs.module}, which {why}: {needs.install}")
    return radio if limits is None else LimitedRadio(radio, limits)


def open_here(uri: RadioUri) -> Radio:
    """Open a radio whose SDK this interpreter has; RadioError where it cannot be opened."""
    driver = driver_of(uri)
    factory = getattr(importlib.import_module(driver.module), driver.factory)
    return cast(Radio, factory(uri))


def choices(name: str, known: Iterable[str]) -> str:
    """'did you mean X? There are X, Y' for a message."""
    names = sorted(known)
    if not names:
        return "there are none"
    near = get_close_matches(name, names, n=1, cutoff=0.0)
    return f"the nearest is {near[0]!r}; there are {', '.join(names)}"
