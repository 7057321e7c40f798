"""A run over nodes, each a process, beside the same run in one process; and what nodes say."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.processes import cpu_s, family, open_files, pss_bytes
from benchmarks.table import Table
from testbed import bench_file, experiment_file
from testbed.experiment import Experiment
from testbed.nodes.air_plan import AirPlan
from testbed.nodes.call import stages
from testbed.nodes.coordinator_messages import Ack, Grant, Listen, Mark, Params, Send, Sound
from testbed.nodes.device_messages import Armed, Heard, Marked, Ready, Report
from testbed.nodes.messages import Body, Message, encode

BENCH = """
name: load
coordinator: {address: "ipc://{sockets}/control", clock: "zmq+ipc://{sockets}/air?name=clock"}
receiver: {name: rx, radio: "zmq+ipc://{sockets}/air?name=rx"}
devices: {count: COUNT, name: "d{n}", radio: "zmq+ipc://{sockets}/air?name=d{n}"}
air: zmq+ipc://{sockets}/air
"""
SETTINGS = (
    "workers=1",
    "model.width=8",
    "evaluation={every: 1000, tasks: 20, final_tasks: 20}",
)
QUICK = (
    "task.family=sinusoid",
    "model={name: mlp, width: 8}",
    "learner={adapt_lr: 0.05, meta_lr: 0.05}",
)
STAGES = ("update", "air", "estimate", "server")
MB = 1e6


@dataclass
class Seen:
    """What was seen of a run while it ran.

    Attributes:
        first_s: from the command to the end of the first round.
        round_s: median of the later ones.
        cpu_s: of all its processes, a round.
        device_bytes: largest memory of a device's process.
        all_bytes: largest memory of all processes.
        stages: seconds by stage, medians.
    """

    first_s: float = 0.0
    round_s: float = 0.0
    cpu_s: float = 0.0
    device_bytes: int = 0
    all_bytes: int = 0
    stages: dict[str, float] = field(default_factory=dict)


def measure(quick: bool = False) -> list[Table]:
    """Runs of so many devices, over nodes and in one process."""
    counts, rounds = ((2,), 4) if quick else ((10, 50), 20)
    times, parts, words = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for count in counts:
            bench = Path(folder) / f"bench-{count}.yaml"
            bench.write_text(BENCH.replace("COUNT", str(count)))
            settings = _settings(count, rounds, quick)
            out = Path(folder) / str(count)
            alone = watch(["run", "lab", *settings], out / "run", rounds)
            nodes = watch(["up", str(bench), "lab", *settings], out / "up", rounds)
            times.append(_times(count, alone, nodes))
            for name, seen in (("nodes", nodes), ("one process", alone)):
                shares = (f"{1e3 * seen.stages[stage]:.1f}" for stage in STAGES)
                parts.append((str(count), name, *shares))
            words.append(said(count, bench, settings))
    note = f"`lab` with model.width = 8, {rounds} rounds, devices all active, on two cores."
    return [
        Table(
            "nodes",
            "A run over nodes",
            ("devices", "first round after [s]", "in one process [s]", "a round [s]",
             "in one process [s]", "CPU a round [s]", "in one process [s]",
             "control, CPU a device and round [ms]", "memory of a device [MB]", "of all [MB]"),
            tuple(times),
            f"{note} `airmeta up` beside `airmeta run workers=1`. A round's CPU is that of all "
            "processes together; control is what nodes take more, by device: messages, requests "
            "to the radio, memories on the disk, and two cores whose caches so many processes "
            "share, which is about half of it: an update takes a process that was away twice as "
            "long. Limit: 0.8 ms, as above. "
            "Memory: PSS, in which shared pages are counted in shares; most in early rounds.",
        ),
        Table(
            "nodes_stages",
            "Where a round over nodes goes",
            ("devices", "", "update [ms]", "air [ms]", "estimate [ms]", "commit [ms]"),
            tuple(parts),
            "Medians of `timings.jsonl`. The air holds beacons, sounding, grants and bursts. "
            "Over nodes devices work side by side, and each stage waits for the last of them.",
        ),
        Table(
            "nodes_messages",
            "What a device hears and says in a round",
            ("devices", "messages to it", "bytes", "parameters [bytes]", "messages from it",
             "bytes", "requests to its radio"),
            tuple(words),
            "As the schema encodes them, of a call that succeeds the first time.",
        ),
    ]  # fmt: skip


def watch(command: list[str], out: Path, rounds: int) -> Seen:
    """Run a command of airmeta, and see its rounds end."""
    seen, ends, busy = Seen(), [time.monotonic()], {}
    settled = max(2, rounds // 4)  # rounds before are for measuring memory, which costs time
    process = subprocess.Popen(
        [sys.executable, "-m", "testbed", *command, "--out", str(out), "--json"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    rows = out / "rounds.jsonl"
    while process.poll() is None:
        done = rows.read_bytes().count(b"\n") if rows.exists() else 0
        if done == len(ends) - 1:
            time.sleep(0.005)
            continue
        ends += [time.monotonic()] * (done + 1 - len(ends))
        pids = family(process.pid)
        if done in (settled, rounds - 1):
            busy[done] = cpu_s(pids)
        elif done < settled:
            sizes = {pid: pss_bytes(pid) for pid in pids}
            devices = [size for pid, size in sizes.items() if _is_device(pid)]
            seen.device_bytes = max(seen.device_bytes, *devices, 0)
            seen.all_bytes = max(seen.all_bytes, sum(sizes.values()))
    if process.returncode:
        raise RuntimeError(f"{command} failed: {process.communicate()[1]}")
    process.communicate()
    seen.first_s = ends[1] - ends[0]
    seen.round_s = float(median(np.diff(ends[1 + settled :])))
    if len(busy) == 2:
        seen.cpu_s = (busy[rounds - 1] - busy[settled]) / (rounds - 1 - settled)
    timings = [json.loads(line) for line in (out / "timings.jsonl").read_text().splitlines()]
    seen.stages = {stage: median(row.get(stage, 0.0) for row in timings[1:]) for stage in STAGES}
    return seen


def said(count: int, bench: Path, settings: list[str]) -> tuple[str, ...]:
    """Messages and bytes between the coordinator and one device, and requests to its radio."""
    config = experiment_file.read("lab").config(settings)
    experiment = Experiment(config)
    plan = AirPlan.of(experiment, bench_file.read(str(bench)).config)
    (leg, *_), numbers = plan.legs(count), np.arange(count)
    params = Params(np.zeros(experiment.dim, np.float32), 0.1, numbers)
    grant = Grant(0, 1.0, 1.0, np.ones(leg.numerology.used_carriers, np.complex64), 0.1)
    told: list[Body] = [grant, Ack(applied=True)]
    told += [ask for s in stages(0, 0, numbers, leg, 1) if s.to != "receiver" for ask in s.asks]
    answers: list[Body] = [Ready(1.0, 1.0), Report(0, 0, 1.0, 1.0, 0)]
    requests = 0
    for ask in told:
        match ask:
            case Mark():
                answers.append(Marked(0, 0.0))
            case Listen(what=what, index=index):
                answers.append(Heard(0, what, index, heard=True))
            case Sound():
                answers.append(Armed(0, "sounding", 0))
            case Send(burst=burst):
                answers.append(Armed(0, "burst", burst))
            case _:
                continue
        requests += 1
    return (
        str(count),
        str(1 + len(told)),
        f"{sum(map(_size, told)):,}",
        f"{_size(params):,}",
        str(len(answers)),
        f"{sum(map(_size, answers)):,}",
        str(requests),
    )


def _settings(count: int, rounds: int, quick: bool) -> list[str]:
    devices = [f"devices.num_devices={count}", f"devices.num_active={count}"]
    return [*SETTINGS, *(QUICK if quick else ()), *devices, f"rounds={rounds}"]


def _times(count: int, alone: Seen, nodes: Seen) -> tuple[str, ...]:
    control_s = (nodes.cpu_s - alone.cpu_s) / count
    return (
        str(count),
        f"{nodes.first_s:.1f}",
        f"{alone.first_s:.1f}",
        f"{nodes.round_s:.2f}",
        f"{alone.round_s:.2f}",
        f"{nodes.cpu_s:.2f}",
        f"{alone.cpu_s:.2f}",
        f"{1e3 * control_s:.1f}",
        f"{nodes.device_bytes / MB:.0f}",
        f"{nodes.all_bytes / MB:.0f}",
    )


def _is_device(pid: int) -> bool:
    """A device's process has its log open."""
    return any(name.startswith("d") and name.endswith(".log") for name in open_files(pid))


def _size(body: Body) -> int:
    return len(encode(Message("load-0123abcd", 10, "d10", 2**47, body)))


if __name__ == "__main__":
    for table in measure():
        print(table.markdown())
