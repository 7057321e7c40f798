"""The scheme and the bench an experiment names, composed from their parts."""

from __future__ import annotations

from fl_core.baselines.digital import DigitalAccess
from fl_core.baselines.ideal import Ideal
from fl_core.baselines.noiseless import Noiseless
from fl_core.estimators import Estimator, build_estimator
from fl_core.power import PowerPolicy, build_policy
from fl_core.round import OverTheAir, Scheme
from fl_core.sparsifier import Contraction, Identity, RandomK, TopK
from fl_core.uplink import Uplink
from sim_fallback.symbol_uplink import SymbolUplink
from testbed.bench import ClosedBench, SymbolBench
from testbed.config import ExperimentConfig
from testbed.on_air.virtual_bench import VirtualBench


def build_scheme(config: ExperimentConfig, dim: int, uplink: Uplink) -> Scheme | None:
    """How updates reach the server; None where there is no pre-training at all (`local`).

    Raises:
        InputError: k or M exceeds the model's size.
    """
    contraction = build_contraction(config, dim)
    num_symbols = config.compression.symbols(dim)
    if config.scheme == "local":
        return None
    if config.scheme == "ideal":
        return Ideal()
    if config.scheme == "noiseless":
        return Noiseless(config.seed, contraction)
    if config.scheme == "digital":
        return DigitalAccess(
            run_seed=config.seed,
            uplink=uplink,
            num_symbols=num_symbols,
            power=config.power.limit,
            bits_per_value=config.digital.bits_per_value,
        )
    return OverTheAir(
        run_seed=config.seed,
        contraction=contraction,
        num_symbols=num_symbols,
        rows=config.compression.rows,
        policy=policy_of(config),
        uplink=uplink,
        estimator=estimator_of(config),
        fail_above_nmse_db=config.receiver.fail_above_nmse_db,
    )


def build_contraction(config: ExperimentConfig, dim: int) -> Contraction:
    """C_k for a model of `dim` parameters."""
    k = config.sparsifier.entries(dim)
    if config.sparsifier.kind == "identity":
        return Identity()
    return TopK(k) if config.sparsifier.kind == "topk" else RandomK(k)


def policy_of(config: ExperimentConfig) -> PowerPolicy:
    """Power control."""
    return build_policy(config.power.policy, config.power.limit, config.power.threshold)


def estimator_of(config: ExperimentConfig) -> Estimator:
    """Recovery of the weighted sum."""
    receiver = config.receiver
    return build_estimator(
        receiver.estimator, denoiser=receiver.denoiser, max_iterations=receiver.max_iterations
    )


def build_bench(config: ExperimentConfig, dim: int) -> ClosedBench:
    """The bench of an experiment with a model of `dim` parameters.

    Raises:
        InputError: M exceeds the model's size.
    """
    symbols = symbol_uplink(config)
    num_symbols = config.compression.symbols(dim)
    if config.uplink == "symbol" or config.scheme != "air":
        return SymbolBench(symbols)
    return VirtualBench(config, num_symbols, symbols.path_amplitudes)


def symbol_uplink(config: ExperimentConfig) -> SymbolUplink:
    """The symbol-level air of an experiment."""
    channel = config.channel
    return SymbolUplink(
        seed=config.seed,
        num_devices=config.devices.num_devices,
        fading=channel.fading,
        snr_db=channel.snr_db,
        power=config.power.limit,
        rician_k_db=channel.rician_k_db,
        path_loss_spread_db=channel.path_loss_spread_db,
        csi_phase_error_deg=channel.csi_phase_error_deg,
        csi_gain_error_db=channel.csi_gain_error_db,
    )
