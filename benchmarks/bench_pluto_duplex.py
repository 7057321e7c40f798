"""What it costs to serve several virtual Plutos in pace that the driver streams to and from."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from subprocess import PIPE, Popen

from benchmarks.pluto_process import ROOT, line, plutos, tell
from benchmarks.table import Table

RADIOS, SECONDS = 11, 10.0
RATE = 1_000_000
PACES = (0.25, 0.5, 0.75, 1.0)

# Opens a radio when told to, streams for some seconds of air time and says how long it computed
# for one of them, and whether the clock still holds. A radio whose clock does not is of no use.
STREAMER = """
import sys, time
from radio.api import RadioError, RadioSettings
from radio.drivers.pluto import open_pluto
from radio.registry import RadioUri

uri, rate, seconds, pace = sys.argv[1], *map(float, sys.argv[2:])
sys.stdin.readline()
try:
    radio = open_pluto(RadioUri.parse(f"pluto://{uri}"))
    radio.configure(RadioSettings(915e6, rate, -10.0, 40.0))
    print("open", flush=True)
    sys.stdin.readline()
    first, computed = radio.now(), time.process_time()
    time.sleep(seconds / pace)
    radio.receive(1000)
    computed = time.process_time() - computed
    print("kept", computed / (radio.now() - first) * rate, flush=True)
    sys.stdin.readline()
    radio.close()
except RadioError as error:
    print("lost", flush=True)
    sys.exit(str(error))
"""


def duplex(quick: bool = False) -> Table:
    """Clients that lost samples, and what server and clients compute, by pace."""
    radios, seconds, paces = (2, 1.0, (0.25,)) if quick else (RADIOS, SECONDS, PACES)
    return Table(
        name="pluto_duplex",
        title="Virtual PlutoSDRs that send and receive in pace",
        header=("pace", "radios", "that lost samples", "server [s]", "a client [s]"),
        rows=tuple(_row(radios, seconds, pace) for pace in paces),
        note=f"Each client is a process that opened its radio as pluto:// at {RATE / 1e6:g} MS/s, "
        f"one after the other, and streams both ways for {seconds:g} s of air time in transfers of "
        "8,192 samples. All Plutos are served by one process and hear each other, who are silent. "
        "CPU time for a second on the air.",
    )


def _row(radios: int, seconds: float, pace: float) -> tuple[str, ...]:
    with ExitStack() as stack:
        served = stack.enter_context(plutos(radios, pace=pace, rate_hz=RATE))
        words = (str(RATE), str(seconds), str(pace))
        clients = [
            Popen(
                [sys.executable, "-c", STREAMER, uri, *words],
                cwd=ROOT,
                text=True,
                stdin=PIPE,
                stdout=PIPE,
            )
            for uri in served.uris
        ]
        said = []
        for client in clients:
            tell(client, "open")
            said.append(line(client).split())
        if not all(words in (["open"], ["lost"]) for words in said):
            raise RuntimeError("a client ended by an error; see above")
        streaming = [c for c, words in zip(clients, said, strict=True) if words == ["open"]]
        computed = served.computed_s()
        for client in streaming:
            tell(client, "go")
        results = [line(client).split() for client in streaming]
        computed = served.computed_s() - computed
        for client in clients:
            client.communicate()
    kept = [float(words[1]) for words in results if words[0] == "kept"]
    return (
        f"{pace:g}",
        str(radios),
        str(radios - len(kept)),
        f"{computed / seconds:.2f}",
        f"{sum(kept) / len(kept):.3f}" if kept else "–",
    )
