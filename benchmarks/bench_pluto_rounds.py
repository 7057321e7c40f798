"""Rounds of ten devices over virtual PlutoSDRs, beside the same rounds over simulated radios."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml

from benchmarks.table import Table
from testbed import bench_file
from testbed.bench_file import BENCH, BenchFile
from testbed.run_folder import DAMAGED

ROUNDS = 20
SETTINGS = ("evaluation={every: 1000, tasks: 20, final_tasks: 20}", "checkpoint_every=1")
FEW = ("devices={num_devices: 2, num_active: 2, num_new: 4}", "model.width=8")
COLUMNS = (
    *("radios", "rounds", "failed", "calls", "participation", "NMSE [dB]", "10 % [dB]"),
    *("90 % [dB]", "predicted [dB]", "delay [samples]", "late [samples]", "a round [s]"),
)
LEGEND = (
    "ten devices and a receiver, each a process; preset `{preset}`, Rayleigh fading, 19 dB. NMSE: "
    "of the step that the server took, against the weighted sum of what the devices sent, for the "
    "best weights; median and quantiles over rounds that did not fail. Delay: the largest of a "
    "sounding, late: of a burst; the cyclic prefix has 32 samples. A call is a try."
)
LOOK_S = 0.02  # far more often than a device's memory changes

Updates = dict[int, dict[int, npt.NDArray[np.float32]]]


def measure(quick: bool = False) -> list[Table]:
    """A run over each, with true errors; over PlutoSDRs at the pace that the bench states."""
    plutos = bench_file.read("virtual-plutos")
    assert plutos.config.air is not None
    with tempfile.TemporaryDirectory() as folder:
        benches = {
            "`sim://`, virtual time": simulated(Path(folder), plutos),
            f"`pluto://`, pace {plutos.config.air.pace:g}": moved(Path(folder), plutos),
        }
        rows = compare(Path(folder), benches, quick)
    return [
        Table(
            "pluto_rounds",
            "Rounds over virtual PlutoSDRs",
            COLUMNS,
            rows,
            f"`airmeta up` of the experiment `lab`, {LEGEND.format(preset='pluto-tcxo')}",
        )
    ]


def simulated(folder: Path, like: BenchFile) -> str:
    """A bench of simulated radios with the frame and the impairments of another: its file."""
    bench = yaml.safe_load(BENCH.text("virtual")[1])
    bench["link"] = like.config.link.model_dump(exclude_none=True)
    if like.config.air is not None:
        bench["air"] = {"at": bench["air"], "preset": like.config.air.preset}
    path = folder / "simulated.yaml"
    path.write_text(yaml.safe_dump(bench))
    return str(path)


def moved(folder: Path, bench: BenchFile) -> str:
    """A shipped bench at other addresses, for somebody may be using it: its file."""
    text = BENCH.text(bench.config.name)[1]
    path = folder / f"{bench.config.name}.yaml"
    path.write_text(text.replace("=127.0.", "=127.77.").replace("ip:127.0.", "ip:127.77."))
    return str(path)


def compare(folder: Path, benches: dict[str, str], quick: bool) -> tuple[tuple[str, ...], ...]:
    """The same rounds over each of these benches, by name: a row each.

    A quick look is at few rounds over the first of them; what depends on the clock is elsewhere.
    """
    rounds, settings = (2, (*SETTINGS, *FEW)) if quick else (ROUNDS, SETTINGS)
    rows = []
    for name, bench in list(benches.items())[: 1 if quick else None]:
        out = folder / f"run-{len(rows)}"
        rows.append(_row(name, out, *watch(bench, rounds, out, settings)))
    return tuple(rows)


def watch(
    bench: str, rounds: int, out: Path, settings: tuple[str, ...]
) -> tuple[Updates, list[npt.NDArray[np.float32]]]:
    """Run it; what each device sent by round, and the parameters before each round and at last."""
    command = [sys.executable, "-m", "testbed", "up", bench, "lab", f"rounds={rounds}", *settings]
    run = subprocess.Popen([*command, "--out", str(out)], stdout=subprocess.DEVNULL)
    sent: Updates = {}
    params: dict[int, npt.NDArray[np.float32]] = {}
    while run.poll() is None:
        for path in out.glob("nodes/d*/*/memory-*.npz"):
            kept = _read(path)
            if kept is not None and int(kept["pending"]) >= 0:
                number = int(path.stem.removeprefix("memory-"))
                sent.setdefault(int(kept["pending"]), {})[number] = kept["sparse"]
        kept = _read(out / "checkpoint.npz")
        if kept is not None:
            params[int(kept["round_index"])] = kept["params"]
        time.sleep(LOOK_S)
    if run.returncode:
        raise RuntimeError(f"{bench}: airmeta up ended with {run.returncode}")
    return sent, [params[index] for index in range(1, rounds + 1)]


def nmse_db(step: npt.NDArray[np.float32], sent: dict[int, npt.NDArray[np.float32]]) -> float:
    """Error of a step against the weighted sum of what was sent, for the best weights."""
    updates = np.stack(list(sent.values())).astype(np.float64)
    weights = np.linalg.lstsq(updates.T, step.astype(np.float64), rcond=None)[0]
    truth = weights @ updates
    return float(10 * np.log10(np.sum((step - truth) ** 2) / np.sum(truth**2)))


def _row(
    name: str,
    out: Path,
    sent: Updates,
    params: list[npt.NDArray[np.float32]],
) -> tuple[str, ...]:
    rows = [json.loads(line) for line in (out / "rounds.jsonl").read_text().splitlines()]
    done = [row for row in rows if not row["failed"] and row["round"] > 0]
    errors = [
        nmse_db(params[row["round"] - 1] - params[row["round"]], sent[row["round"]]) for row in done
    ]
    timings = [json.loads(line) for line in (out / "timings.jsonl").read_text().splitlines()]
    round_s = float(np.median([sum(v for k, v in t.items() if k != "round") for t in timings]))
    return (
        name,
        str(len(rows)),
        str(sum(row["failed"] for row in rows)),
        str(sum(row["calls"] for row in rows)),
        f"{np.mean([row['participation'] for row in rows]):.3f}",
        *(f"{np.quantile(errors, q):.1f}" for q in (0.5, 0.1, 0.9)),
        f"{np.median([row['nmse_predicted_db'] for row in done]):.1f}",
        f"{max(row['delay_samples'] for row in done):.2f}",
        f"{max(row['late_samples'] for row in done):.3f}",
        f"{round_s:.1f}",
    )


def _read(path: Path) -> dict[str, npt.NDArray[np.generic]] | None:
    try:
        with path.open("rb") as file, np.load(file) as data:
            return dict(data)
    except DAMAGED:
        return None
