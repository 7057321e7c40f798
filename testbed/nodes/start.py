"""Starting a node of a bench in this process, and ending it: radio muted, sockets closed."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from radio.api import Radio
from radio.keys import Keys
from radio.registry import open_radio
from testbed.bench_config import COORDINATOR, NodeConfig
from testbed.bench_file import BenchFile
from testbed.config import ExperimentConfig
from testbed.experiment import Experiment, Watch
from testbed.nodes import coordinator, device, receiver
from testbed.nodes.air_plan import AirPlan
from testbed.nodes.code_hash import code_sha256
from testbed.nodes.coordinator_messages import TO_DEVICE, TO_RECEIVER
from testbed.nodes.coordinator_node import CoordinatorNode, brief_of, first_state, run_id
from testbed.nodes.coordinator_state import CoordinatorState
from testbed.nodes.device_messages import FROM_DEVICE
from testbed.nodes.device_node import DeviceNode
from testbed.nodes.hub import Hub
from testbed.nodes.messages import Kinds
from testbed.nodes.receiver_messages import FROM_RECEIVER
from testbed.nodes.receiver_node import ReceiverNode
from testbed.nodes.shell import End, run
from testbed.nodes.spoke import Spoke
from testbed.nodes.transport import SocketFile
from testbed.on_air.calibrated import hashes
from testbed.run_folder import RunFolder
from testbed.workers import Workers


@dataclass(frozen=True)
class RunOver:
    """How a coordinator ended; `summary` is None when the run is not complete."""

    end: End
    summary: dict[str, Any] | None


def start_coordinator(
    bench: BenchFile,
    config: ExperimentConfig,
    folder: Path,
    resume: bool,
    watch: Watch,
    stop: Callable[[], bool],
) -> RunOver:
    """Lead a run into a folder, until it is complete or stopped.

    Raises:
        InputError: experiment, bench and folder do not go together, or the address is taken.
        RadioError: the clock of the bench cannot be opened.
    """
    experiment = Experiment(config)
    plan = AirPlan.of(experiment, bench.config)
    run_folder = RunFolder(folder, config)
    with ExitStack() as stack:
        brief = brief_of(experiment, bench, plan, run="none")  # what is wrong is said before
        bench.sockets.mkdir(parents=True, exist_ok=True, mode=0o700)
        most = 4 * experiment.dim + 16 * plan.timeline.num_devices * 256 + 2**16
        hub = stack.enter_context(
            Hub(
                bench.config.coordinator.address,
                COORDINATOR,
                {brief.receiver: FROM_RECEIVER, **dict.fromkeys(brief.devices, FROM_DEVICE)},
                keys_of(bench, COORDINATOR),
                most_bytes=most,
            )
        )
        uri = bench.config.coordinator.clock
        clock = None if uri is None else stack.enter_context(closing(open_radio(uri)))
        # Nothing is written before here.
        stack.enter_context(run_folder.held())
        planned = plan.held_gains(config, bench.config)
        before, last_applied, gains = first_state(experiment, run_folder, planned, resume)
        run_folder.create(experiment.dim)
        if plan.profiles is not None:
            run_folder.note_calibration(hashes(plan.profiles))
        brief = replace(brief, run=run_id(folder, config.name))
        # Devices compute the updates; what is left are scores, while nothing else happens.
        workers = stack.enter_context(Workers(experiment.desk, 1, config.devices.num_active))
        node = CoordinatorNode(hub, experiment, run_folder, workers, plan, clock, watch)
        state = CoordinatorState.begin(
            brief, before.params, before.round_index, last_applied, before.channel_uses, gains
        )
        node.look(state)  # first of all: whoever asks finds out whose run this is now
        node.begin(before)
        if before.round_index < brief.rounds:
            state = run(state, coordinator.step, node.perform, hub, time.monotonic, stop, node.look)
            assert state.ended is not None
            if state.ended.code:
                return RunOver(state.ended, None)
        return RunOver(End(0, "the run is over"), node.finish(state))


def require_startable(bench: BenchFile, num_devices: int) -> None:
    """What keeps all of a bench from running on this machine is said before anything is written.

    Raises:
        InputError: another process listens at the coordinator's address.
        RadioError: the keys of a node are missing, or no keys.
    """
    SocketFile(bench.config.coordinator.address).require_free()
    nodes = (bench.receiver, *bench.devices[:num_devices])
    for name in (COORDINATOR, *(node.name for node in nodes)):
        keys_of(bench, name)


def start_receiver(bench: BenchFile, state: Path, stop: Callable[[], bool]) -> End:
    """Be the receiver of a bench until the run is over; errors as for `start_device`."""
    return _start(
        bench,
        bench.receiver,
        TO_RECEIVER,
        lambda spoke, radio: ReceiverNode(spoke, radio, bench.config, state),
        receiver.step,
        receiver.ReceiverState,
        stop,
    )


def start_device(bench: BenchFile, name: str, state: Path, stop: Callable[[], bool]) -> End:
    """Be a device of a bench until the run is over.

    Args:
        bench: that it belongs to.
        name: of the device.
        state: folder for what outlives this process.
        stop: whether it shall end.

    Raises:
        InputError: the bench has no such node, or its keys are missing.
        RadioError: its radio cannot be opened.
    """
    return _start(
        bench,
        bench.device(bench.number_of(name)),
        TO_DEVICE,
        lambda spoke, radio: DeviceNode(spoke, radio, bench.config, state),
        device.step,
        device.DeviceState,
        stop,
    )


def _start(
    bench: BenchFile,
    node: NodeConfig,
    kinds: Kinds,
    shell: Callable[[Spoke, Callable[[], Radio]], DeviceNode | ReceiverNode],
    step: Callable[..., Any],
    begin: Callable[..., Any],
    stop: Callable[[], bool],
) -> End:
    limits = None if bench.config.limits is None else bench.config.limits.limits()
    deadlines = bench.config.deadlines

    def opened() -> Radio:
        return open_radio(node.radio, limits)

    address = bench.config.coordinator.address
    with Spoke(address, node.name, COORDINATOR, kinds, keys_of(bench, node.name)) as spoke:
        with closing(shell(spoke, opened)) as performer:
            waits = deadlines.gather_s, deadlines.rejoin_s
            state = begin(code_sha256(), performer.turnaround_s, *waits)
            state = run(state, step, performer.perform, spoke, time.monotonic, stop)
        assert isinstance(state.ended, End)
        return state.ended


def keys_of(bench: BenchFile, name: str) -> Keys | None:
    """The keys of a node, where the bench has any."""
    folder = bench.config.keys
    return None if folder is None else Keys.read(Path(folder) / f"{name}.secret")
