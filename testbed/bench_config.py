"""What a bench file says: which nodes and radios there are, as one frozen, validated tree.

Every key has its meaning and default here; `testbed/bench_file.py` reads the YAML. What runs on a
bench is the experiment's matter (`testbed/config.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from radio.address import require_address
from radio.api import RadioError, Range
from radio.keys import NAME
from radio.limits import Limits
from radio.registry import RadioUri
from testbed.bench_place import (
    AddressText,
    AirText,
    FilePath,
    RadioText,
    Text,
    served_at,
    virtual_pluto_at,
    virtual_usrp_at,
)
from testbed.config import Decibels, Positive, PositiveInt, PresetName, Section

COORDINATOR = "coordinator"  # the name of this node on every bench
MOST_DEVICES = 1000

Loc = tuple[str | int, ...]


def _name(name: str) -> str:
    if name == COORDINATOR:
        raise ValueError(f"{COORDINATOR} is the name of another node; choose one of its own")
    return name


NodeName = Annotated[str, Field(pattern=f"^{NAME}$"), AfterValidator(_name)]
Count = Annotated[int, Field(ge=0, le=1000)]
Seconds = Annotated[float, Field(ge=0, le=10)]
Band = Annotated[tuple[Positive, Positive], Field(strict=False)]


class CoordinatorConfig(Section):
    """The node that leads the rounds."""

    address: AddressText  # ipc://PATH or tcp://HOST:PORT, where nodes connect
    clock: RadioText | None = None  # its sample clock paces the rounds; null: as fast as it goes


class NodeConfig(Section):
    """A node with a radio."""

    name: NodeName
    radio: RadioText  # URI
    tx_gain_db: Decibels | None = None  # null: the link's; a plan of gains goes before both


class DevicesTemplate(Section):
    """Devices that differ only in their number {n}, from 0."""

    count: Annotated[int, Field(ge=1, le=MOST_DEVICES)]
    name: str = "d{n}"
    radio: Text

    @model_validator(mode="after")
    def _valid(self) -> DevicesTemplate:
        if self.count > 1:
            alike = [key for key in ("name", "radio") if "{n}" not in getattr(self, key)]
            if alike:
                what = "should hold {n}, the number of the device"
                raise _mistakes([((key,), what) for key in alike])
        self.node(self.count - 1)
        return self

    def node(self, number: int) -> NodeConfig:
        """The device of this number."""
        written = {"name": self.name, "radio": self.radio}
        return NodeConfig.model_validate(
            {key: text.replace("{n}", str(number)) for key, text in written.items()}
        )


class LimitsConfig(Section):
    """What every radio of the bench may send at most; see `radio.limits.Limits`."""

    bands: Annotated[tuple[Band, ...], Field(strict=False)]  # Hz, each [low, high]
    max_tx_gain_db: Decibels
    max_duty_cycle: float  # share of any window_s
    window_s: float
    max_burst_s: float

    @model_validator(mode="after")
    def _valid(self) -> LimitsConfig:
        self.limits()
        return self

    def limits(self) -> Limits:
        """As radios are opened with."""
        return Limits(
            tuple(Range(low, high) for low, high in self.bands),
            self.max_tx_gain_db,
            self.max_duty_cycle,
            self.window_s,
            self.max_burst_s,
        )


class AirConfig(Section):
    """The virtual air that `airmeta up` serves, to the nodes whose radios are on it."""

    at: AirText  # of simulated radios
    preset: PresetName | None = None  # of its radios; null: the experiment's iq.preset
    pluto_preset: PresetName | None = None  # of PlutoSDRs beside USRPs; null: the same as of those
    pace: Positive | None = None  # seconds on the air in a second; null: 1 with PlutoSDRs on it


class LinkConfig(Section):
    """What these radios are like, in place of what the experiment assumes (null: keep that)."""

    shared_clock: bool | None = None  # all radios run from one reference
    allan_deviation: Annotated[float, Field(ge=0, le=1e-7)] | None = None  # at 0.1 s
    max_offset_ppm: Annotated[float, Field(ge=0, le=25)] | None = None  # of any oscillator
    reference_gain_db: Decibels | None = None  # received amplitude that counts as |h| = 1
    rx_gain_db: Decibels | None = None
    tx_gain_db: Decibels | None = None  # of devices only where no plan has theirs
    search: PositiveInt | None = None  # samples by which a first guess of the time may be off
    lead: PositiveInt | None = None  # samples from planning a call to its beacon
    turnaround_s: Seconds | None = None  # from hearing a beacon to sending with it
    control_s: Seconds | None = None  # from the last sounding to the earliest data


class CalibrationConfig(Section):
    """What `airmeta calibrate` measured of this bench's radios."""

    folder: FilePath  # profiles by serial, and the plan of their powers
    hold: bool = True  # follow what drifts slowly with the devices' gains


class DeadlinesConfig(Section):
    """How long nodes wait for each other."""

    gather_s: Positive = 60.0  # for all nodes at the start
    compute_s: Positive = 60.0  # for the updates of a round
    answer_s: Positive = 10.0  # for any other answer
    recover_s: Positive = 60.0  # for the estimate
    rejoin_s: Positive = 30.0  # for a receiver, or all devices, or a coordinator, that was lost


_NODES = TypeAdapter(tuple[NodeConfig, ...])


def _devices(value: Any, info: ValidationInfo) -> DevicesTemplate | tuple[NodeConfig, ...]:
    """Template or list by what was written, so that mistakes are told of the right one."""
    if isinstance(value, Mapping):
        return DevicesTemplate.model_validate(value, context=info.context)
    if isinstance(value, list | tuple) and value:
        return _NODES.validate_python(value, context=info.context)
    raise ValueError("should be a list of nodes, or count, name and radio of like ones")


def _air(value: Any) -> Any:
    return {"at": value} if isinstance(value, str) else value


def _calibration(value: Any) -> Any:
    return {"folder": value} if isinstance(value, str) else value


class BenchConfig(Section):
    """One bench, completely."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    description: str = ""
    coordinator: CoordinatorConfig
    receiver: NodeConfig
    devices: Annotated[DevicesTemplate | tuple[NodeConfig, ...], BeforeValidator(_devices)]
    air: Annotated[AirConfig | None, BeforeValidator(_air)] = None  # or only the text of its `at`
    keys: FilePath | None = None  # folder; needed where other machines can connect
    limits: LimitsConfig | None = None
    link: LinkConfig = LinkConfig()
    calibration: Annotated[CalibrationConfig | None, BeforeValidator(_calibration)] = None
    deadlines: DeadlinesConfig = DeadlinesConfig()
    retries: Count = 2  # failed bursts of a round that are sounded and sent again
    restarts: Count = 3  # of a node that died, by `airmeta up`

    @model_validator(mode="after")
    def _consistent(self) -> BenchConfig:
        found = [
            *self._shared(),
            *self._exposed(),
            *self._unpaced(),
            *self._planned(),
            *self._too_strong(),
        ]
        if found:
            raise _mistakes(found)
        return self

    def nodes(self) -> tuple[NodeConfig, ...]:
        """The devices, each by itself; a device's number is its place."""
        if isinstance(self.devices, DevicesTemplate):
            return tuple(map(self.devices.node, range(self.devices.count)))
        return self.devices

    def _located(self) -> Iterator[tuple[Loc, NodeConfig]]:
        """Every node with a radio, and where the file speaks of it."""
        yield ("receiver",), self.receiver
        listed = not isinstance(self.devices, DevicesTemplate)
        for number, node in enumerate(self.nodes()):
            yield ("devices", number) if listed else ("devices",), node

    def _radios(self) -> Iterator[tuple[Loc, str]]:
        if self.coordinator.clock is not None:
            yield ("coordinator", "clock"), self.coordinator.clock
        for loc, node in self._located():
            yield (*loc, "radio"), node.radio

    def _shared(self) -> Iterator[tuple[Loc, str]]:
        """What two nodes have, and only one can."""
        names: dict[str, Loc] = {}
        for loc, node in self._located():
            if node.name in names:
                yield (*loc, "name"), f"{node.name} is the name of {_dotted(names[node.name])} too"
            names.setdefault(node.name, loc)
        radios: dict[tuple[str, str, frozenset[tuple[str, str]]], Loc] = {}
        for loc, text in self._radios():
            uri = RadioUri.parse(text)
            key = (uri.scheme, uri.address, frozenset(uri.options.items()))
            if key in radios:
                yield loc, f"{text} is {_dotted(radios[key])} too; each node has its own radio"
            radios.setdefault(key, loc)

    def virtual_plutos(self) -> dict[str, str]:
        """HOST or HOST:PORT of the nodes whose radios are virtual PlutoSDRs on the bench's air."""
        return self._virtual(virtual_pluto_at)

    def virtual_usrps(self) -> dict[str, str]:
        """Hosts of the nodes whose radios are virtual USRPs on the bench's air."""
        return self._virtual(virtual_usrp_at)

    def _virtual(self, at: Callable[[RadioUri], str | None]) -> dict[str, str]:
        if self.air is None:
            return {}
        places = {node.name: at(RadioUri.parse(node.radio)) for _, node in self._located()}
        return {name: place for name, place in places.items() if place is not None}

    def _unpaced(self) -> Iterator[tuple[Loc, str]]:
        """Time that passes by itself, for radios that wait for each other."""
        if self.air is None:
            return
        virtual = self.virtual_plutos() | self.virtual_usrps()
        if self.air.pace is not None and not virtual:
            yield (
                ("air", "pace"),
                "is for PlutoSDRs and USRPs, as pluto://ip:127.0.0.2; other radios wait",
            )
        for loc, node in self._located():
            if virtual and node.name not in virtual:
                yield (
                    (*loc, "radio"),
                    f"{node.radio} should be a virtual PlutoSDR or USRP like the others",
                )

    def _planned(self) -> Iterator[tuple[Loc, str]]:
        """What the link says, and the plan of the powers too."""
        for key in ("rx_gain_db", "reference_gain_db"):
            if self.calibration is not None and getattr(self.link, key) is not None:
                yield ("link", key), "is what the plan of calibration.folder says; leave it out"

    def _too_strong(self) -> Iterator[tuple[Loc, str]]:
        """Gains that the radios would refuse, call by call."""
        if self.limits is None:
            return
        highest_db = self.limits.max_tx_gain_db
        wanted: list[tuple[Loc, float | None]] = [(("link",), self.link.tx_gain_db)]
        wanted += [(loc, node.tx_gain_db) for loc, node in self._located()]
        for loc, gain_db in wanted:
            if gain_db is not None and gain_db > highest_db:
                exceeds = f"{gain_db:g} exceeds limits.max_tx_gain_db = {highest_db:g}"
                yield (*loc, "tx_gain_db"), exceeds

    def _exposed(self) -> Iterator[tuple[Loc, str]]:
        """What other machines can reach, and nobody guards."""
        if self.keys is not None:
            return
        places: list[tuple[Loc, str | None]] = [
            (("coordinator", "address"), self.coordinator.address)
        ]
        for loc, text in [*self._radios(), *([(("air",), self.air.at)] if self.air else [])]:
            uri = RadioUri.parse(text)
            if "keys" not in uri.options:  # which would be for this radio alone
                places.append((loc, served_at(uri)))
        for loc, address in places:
            if address is None:
                continue
            try:
                require_address(address, keyed=False)
            except RadioError as error:
                yield loc, f"{error}; set keys: to that folder"


def _dotted(loc: Loc) -> str:
    return ".".join(map(str, loc))


def _mistakes(found: list[tuple[Loc, str]]) -> ValidationError:
    """One error for mistakes at several places, which pydantic tells below the validator's own."""
    return ValidationError.from_exception_data(
        "bench",
        [
            InitErrorDetails(
                type=PydanticCustomError("value_error", "{what}", {"what": what}),
                loc=loc,
                input=None,
            )
            for loc, what in found
        ],
    )
