"""What the coordinator knows of a run before it begins, and what does not change in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fl_core.power import PowerPolicy
from testbed.bench_config import DeadlinesConfig
from testbed.nodes.call import Stage
from testbed.nodes.coordinator_messages import Params, Recover
from testbed.nodes.device_messages import Hello
from testbed.nodes.member import NO_CONFIG
from testbed.nodes.receiver_messages import ReceiverHello
from testbed.on_air.timeline import Timeline


@dataclass(frozen=True)
class Brief:
    """A run.

    Attributes:
        run: its id.
        config: the experiment, YAML.
        config_sha256: of what in it decides results.
        code_sha256: of the coordinator's code; nodes run the same.
        receiver: name of the node.
        devices: names of the nodes, by number.
        seed: of the run.
        rounds: to the end.
        num_active: devices asked in a round.
        num_symbols: M.
        turnaround_s: that the frame leaves a device.
        fail_above: predicted NMSE, linear, beyond which a round has failed.
        retries: calls of a round that may fail before the round does.
        deadlines: of answers.
        policy: power control.
        meta_lr: step size of a round.
        legs: of a round of so many devices.
        diverged: what is too large when updates diverge, for a person.
    """

    run: str
    config: str
    config_sha256: str
    code_sha256: str
    receiver: str
    devices: tuple[str, ...]
    seed: int
    rounds: int
    num_active: int
    num_symbols: int
    turnaround_s: float
    fail_above: float
    retries: int
    deadlines: DeadlinesConfig
    policy: PowerPolicy
    meta_lr: Callable[[int], float]
    legs: Callable[[int], tuple[Timeline, ...]]
    diverged: str

    def patience_s(self, stage: Stage) -> float:
        """How long the answers to a question are waited for."""
        match stage.asks[0]:
            case Params():
                return self.deadlines.compute_s
            case Recover():
                return self.deadlines.recover_s
        return self.deadlines.answer_s

    def objection(self, name: str, hello: Hello | ReceiverHello) -> str:
        """Why a node does not belong to the run; empty if it does."""
        if hello.code != self.code_sha256:
            return f"{name} runs other code than the coordinator; install the same revision"
        if hello.config not in (NO_CONFIG, self.config_sha256):
            return f"{name} belongs to a run of another experiment; restart it"
        if isinstance(hello, Hello) and hello.turnaround_s > self.turnaround_s:
            return (
                f"the radio of {name} takes {hello.turnaround_s:g} s to answer a beacon and the "
                f"frame leaves it {self.turnaround_s:g}; set iq.turnaround_s"
            )
        return ""
