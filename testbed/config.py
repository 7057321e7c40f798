"""What an experiment says: one frozen, validated tree of settings.

Every key has its meaning and default here; `testbed/experiment_file.py` reads the YAML and the
`key=value` overrides that fill it. Limits that need more than the file (k <= d, M <= d, enough
drawings of a character) are checked when the experiment is built, before anything is written.
Which radios there are is said by a bench (`testbed/bench_config.py`).
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    model_validator,
)

from fl_core.errors import InputError
from fl_core.power import AUTO

MOST_ON_AIR = 100  # devices; each needs two of the 200 carriers for its pilots

Scheme = Literal["air", "ideal", "noiseless", "conventional", "digital", "local"]
PresetName = Literal["ideal", "cabled-shared-clock", "usrp-octoclock", "pluto-tcxo"]


def _level(value: float) -> float:
    if not -200 <= value <= 200 and value != math.inf:
        raise ValueError("should be a level in dB, -200 to 200; .inf switches the noise off")
    return value


def _threshold(value: object) -> float | Literal["auto"]:
    if value == AUTO:
        return AUTO
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"should be an amplitude |h| of 0 or more, or {AUTO}, got {value!r}")
    return float(value)


PositiveInt = Annotated[int, Field(ge=1)]
Threshold = Annotated[float | Literal["auto"], PlainValidator(_threshold)]
Spread = Annotated[float, Field(ge=0, le=60)]  # of levels in dB, or of phases in degrees
Decibels = Annotated[float, Field(ge=-200, le=200)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Delay = Annotated[float, Field(ge=0, le=1e-5)]  # s; longer echoes leave the cyclic prefix
Stride = Annotated[int, Field(ge=1, le=2)]
Fraction = Annotated[float, Field(gt=0, le=1)]


class Section(BaseModel):
    """Settings that belong together: no unknown keys, no change, no conversion of types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class TaskConfig(Section):
    """Which few-shot tasks the devices own."""

    family: Literal["glyphs", "omniglot", "sinusoid"] = "glyphs"
    ways: Annotated[int, Field(ge=2)] = 5
    shots: PositiveInt = 1
    queries: PositiveInt = 5  # per class
    data: str | None = None  # folder of the Omniglot archives; else AIRMETA_DATA, else the cache
    rotations: bool = True  # 90 degree rotations count as new classes
    partition: Literal["random", "alphabet"] = "random"


class ModelConfig(Section):
    """The network that all devices share."""

    name: Literal["conv4", "mlp"] = "conv4"
    width: PositiveInt = 32  # channels of conv4, hidden units of mlp
    strides: Annotated[tuple[Stride, Stride, Stride, Stride], Field(strict=False)] = (2, 2, 1, 1)
    activation: Literal["relu", "tanh"] = "relu"  # of mlp; conv4 has relu
    device: str = "cpu"  # any torch device


class LearnerConfig(Section):
    """Local meta-learning at a device, and the step sizes."""

    gradient: Literal["exact", "first_order", "hessian_free"] = "exact"
    adapt_lr: Positive = 0.4  # alpha
    local_steps: PositiveInt = 1  # Q
    tasks_per_step: PositiveInt = 1
    meta_lr: Positive = 0.1  # eta_0
    schedule: Literal["constant", "inverse", "inverse_sqrt", "cosine"] = "constant"
    decay_rounds: Positive = 500.0  # rounds after which an inverse schedule has halved


class DevicesConfig(Section):
    """How many devices there are and how many take part in a round."""

    num_devices: PositiveInt = 100  # n
    num_active: PositiveInt = 10  # r
    num_new: PositiveInt = 20  # devices that only appear after pre-training

    @model_validator(mode="after")
    def _active_exist(self) -> DevicesConfig:
        if self.num_active > self.num_devices:
            raise ValueError(
                f"num_active = {self.num_active} exceeds num_devices = {self.num_devices}"
            )
        return self


class SparsifierConfig(Section):
    """The k-contraction; the long-term memory holds what it leaves out."""

    kind: Literal["topk", "randomk", "identity"] = "topk"
    density: Fraction = 0.04  # k/d
    k: PositiveInt | None = None  # entries kept; takes the place of density

    def entries(self, dim: int) -> int:
        """k for a model of `dim` parameters; InputError when k > d."""
        k = max(1, round(self.density * dim)) if self.k is None else self.k
        if k > dim:
            raise InputError(f"sparsifier.k = {k} exceeds the model's {dim} parameters")
        return k


class CompressionConfig(Section):
    """The partial DFT that turns d entries into M symbols."""

    ratio: Fraction = 0.4  # M/d
    num_symbols: PositiveInt | None = None  # M; takes the place of ratio
    rows: Literal["half", "full"] = "half"

    def symbols(self, dim: int) -> int:
        """M for a model of `dim` parameters; InputError when M > d."""
        m = max(1, round(self.ratio * dim)) if self.num_symbols is None else self.num_symbols
        if m > dim:
            raise InputError(f"compression.num_symbols = {m} exceeds the model's {dim} parameters")
        return m


class PowerConfig(Section):
    """Power control at the devices."""

    policy: Literal["phase_only", "truncated_inversion", "full_inversion", "capped_inversion"] = (
        "phase_only"
    )
    limit: Annotated[float, Field(ge=1e-9, le=1e9)] = 1.0  # P per symbol; SNR is relative to it
    threshold: Threshold = 0.3  # |h| below which truncated_inversion is silent; auto: each round's


class ChannelConfig(Section):
    """The channel of either uplink; errors of channel knowledge are for uplink = symbol."""

    fading: Literal["rayleigh", "rician", "awgn"] = "rayleigh"
    snr_db: Annotated[float, AfterValidator(_level)] = 19.0  # P/sigma^2 of one device
    rician_k_db: Decibels = 6.0
    path_loss_spread_db: Spread = 0.0  # standard deviation over devices
    csi_phase_error_deg: Spread = 0.0  # standard deviation
    csi_gain_error_db: Spread = 0.0  # standard deviation


class SpreadConfig(Section):
    """How much the virtual radios differ; drawn for each from the seed (docs/impairments.md)."""

    path_loss_db: Spread = 0.0  # farthest less nearest device; the farthest has channel.snr_db
    gain_error_db: Annotated[float, Field(ge=0, le=20)] = 0.0  # gains less settings, up to +-
    gain_ripple_db: Annotated[float, Field(ge=0, le=2)] = 0.0  # and up and down over settings
    iq_gain_db: Annotated[float, Field(ge=0, le=6)] = 0.0  # imbalance of both mixers, up to +-
    iq_phase_deg: Annotated[float, Field(ge=0, le=30)] = 0.0  # the same, in phase
    dc: Annotated[float, Field(ge=0, le=0.3)] = 0.0  # leakage and offset, up to; 1: full scale
    delay_samples: Annotated[float, Field(ge=0, le=5)] = 0.0  # of either direction, up to


class TemperatureConfig(Section):
    """How virtual radios warm up, all alike, and what that does; at 34 degrees C nothing."""

    ramp_k: Annotated[float, Field(ge=-50, le=50)] | None = None  # else a Pluto's: 8 K in minutes
    start_c: Annotated[float, Field(ge=-40, le=85)] = 34.0  # where the ramp starts
    over_s: Positive = 600.0  # which it takes; seconds on the air
    tx_gain_db_per_k: Annotated[float, Field(ge=-1, le=1)] = 0.0  # a radio has half to all of it
    rx_gain_db_per_k: Annotated[float, Field(ge=-1, le=1)] = 0.0  # the same; noise goes along
    ppm_per_k: Annotated[float, Field(ge=0, le=1)] = 0.0  # of oscillators, up to +-


class IQConfig(Section):
    """The uplink sample by sample: radios of a preset on a virtual air (docs/impairments.md)."""

    preset: PresetName = "pluto-tcxo"
    carrier_hz: Annotated[float, Field(ge=7e7, le=6e9)] = 915e6
    backoff_db: Annotated[float, Field(ge=0, le=40)] = 10.0  # of a symbol of power 1
    control_s: Annotated[float, Field(ge=0, le=10)] = 0.1  # from the last sounding to the data
    turnaround_s: Annotated[float, Field(ge=0, le=10)] | None = None  # else the preset's
    sounding_life_s: Annotated[float, Field(gt=0, le=100)] = 1.0  # a longer update is sounded anew
    sync_beacons: Annotated[int, Field(ge=1, le=20)] = 2  # before the data, 10 ms apart
    offset_ppm: Annotated[float, Field(ge=0, le=25)] | None = None  # of oscillators, else preset's
    allan_deviation: Annotated[float, Field(ge=0, le=1e-7)] | None = None  # at 0.1 s, else preset's
    expected_allan_deviation: Annotated[float, Field(ge=0, le=1e-7)] = 3e-10  # by the devices
    error_budget: bool = True  # tell what each cause adds, at the price of rendering five times
    delays_s: Annotated[tuple[Delay, ...], Field(strict=False)] = (0.0,)  # of taps
    powers_db: Annotated[tuple[Decibels, ...], Field(strict=False)] = (0.0,)
    doppler_hz: Annotated[float, Field(ge=0, le=1000)] = 0.0  # 0: a channel stays for its round
    calibrate: bool = False  # before the first round; mend the mixers, and level the devices
    hold_power: bool = True  # where calibrated: follow what drifts with the devices' gains
    spread: SpreadConfig = SpreadConfig()
    temperature: TemperatureConfig = TemperatureConfig()

    @model_validator(mode="after")
    def _taps(self) -> IQConfig:
        if not self.delays_s or len(self.delays_s) != len(self.powers_db):
            raise ValueError(
                f"delays_s has {len(self.delays_s)} taps and powers_db {len(self.powers_db)}; "
                "each tap has one of both, and there is at least one"
            )
        if list(self.delays_s) != sorted(set(self.delays_s)):
            raise ValueError(f"delays_s should ascend, got {list(self.delays_s)}")
        return self


class ReceiverConfig(Section):
    """Recovery of the weighted sum."""

    estimator: Literal["oamp", "iht", "lmmse", "matched_filter"] = "oamp"
    denoiser: Literal["bimodal", "bernoulli_gaussian", "soft_threshold"] = "bimodal"
    max_iterations: PositiveInt = 30
    fail_above_nmse_db: Decibels = -3.0  # as predicted


class DigitalConfig(Section):
    """The digital baseline."""

    bits_per_value: Annotated[int, Field(ge=2, le=16)] = 4


class LocalConfig(Section):
    """The baseline without pre-training: each device trains a fresh model on its own shots."""

    lr: Positive = 1.0
    steps: PositiveInt = 10


class EvaluationConfig(Section):
    """Adaptation on new tasks of training devices, and on new devices."""

    every: PositiveInt = 100  # rounds
    tasks: Annotated[int, Field(ge=2)] = 200  # per population
    final_tasks: Annotated[int, Field(ge=2)] = 600
    adapt_steps: PositiveInt = 1


class ExperimentConfig(Section):
    """One experiment, completely."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    description: str = ""
    seed: Annotated[int, Field(ge=0)] = 0
    rounds: PositiveInt = 300
    workers: PositiveInt = 1  # processes that compute updates; changes speed, never results
    checkpoint_every: PositiveInt = 100  # rounds
    scheme: Scheme = "air"
    uplink: Literal["symbol", "iq"] = "symbol"  # of scheme air: one number a symbol, or samples
    record: bool = False  # keep what the receiver's radio heard, for `airmeta replay`
    references: Annotated[tuple[Scheme, ...], Field(strict=False)] = ()
    task: TaskConfig = TaskConfig()
    model: ModelConfig = ModelConfig()
    learner: LearnerConfig = LearnerConfig()
    devices: DevicesConfig = DevicesConfig()
    sparsifier: SparsifierConfig = SparsifierConfig()
    compression: CompressionConfig = CompressionConfig()
    power: PowerConfig = PowerConfig()
    channel: ChannelConfig = ChannelConfig()
    iq: IQConfig = IQConfig()
    receiver: ReceiverConfig = ReceiverConfig()
    digital: DigitalConfig = DigitalConfig()
    local: LocalConfig = LocalConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="after")
    def _consistent(self) -> ExperimentConfig:
        if self.model.name == "conv4" and self.task.family == "sinusoid":
            raise ValueError("model.name = conv4 needs images; task.family = sinusoid wants mlp")
        if self.scheme in self.references:
            raise ValueError(f"references name the scheme itself ({self.scheme})")
        if len(set(self.references)) < len(self.references):
            raise ValueError(f"references name a scheme twice: {', '.join(self.references)}")
        if self.model.name == "conv4" and self.model.activation != "relu":
            raise ValueError("model.activation is for model.name = mlp; conv4 has relu")
        if self.record and (self.uplink != "iq" or self.scheme != "air"):
            raise ValueError("record keeps samples; it needs uplink = iq and scheme = air")
        if self.uplink == "iq":
            self._fits_samples()
        return self

    def _fits_samples(self) -> None:
        if self.devices.num_active > MOST_ON_AIR:
            raise ValueError(
                f"devices.num_active = {self.devices.num_active}: uplink = iq has pilots for at "
                f"most {MOST_ON_AIR}"
            )
        if self.scheme != "air":
            raise ValueError(f"uplink = iq is for scheme = air; {self.scheme} sends no samples")
        if self.power.limit != 1:
            raise ValueError(
                "power.limit should stay 1 with uplink = iq; iq.backoff_db is the level"
            )
        if self.channel.csi_phase_error_deg or self.channel.csi_gain_error_db:
            raise ValueError(
                "channel.csi_phase_error_deg and csi_gain_error_db are for uplink = symbol; with "
                "uplink = iq the channel is estimated from samples"
            )

    def as_reference(self, scheme: Scheme) -> ExperimentConfig:
        """The same experiment under another scheme, on the same seeds."""
        changes = {"scheme": scheme, "references": (), "uplink": "symbol", "record": False}
        return self.model_copy(update=changes)
