"""A node as a child process of `airmeta up`."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fl_core.errors import InputError
from radio.api import RadioError
from testbed.bench_file import BenchFile
from testbed.config import ExperimentConfig
from testbed.experiment import Experiment
from testbed.nodes.shell import End
from testbed.nodes.start import start_coordinator, start_device, start_receiver
from testbed.runs import stop_after_round
from testbed.serving import serving_air_of
from testbed.workers import one_thread

AIR = "air"
NICE = 10  # nodes compute; whoever serves the air to all of them in its time goes first
BREAK_OFF_S = 1.0  # from being told to end until it is broken off; farewells are shorter

Tell = Callable[[Any], None]
Stop = Callable[[], bool]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ready:
    """The air is there."""


def live(work: Callable[[Tell, Stop], End], pipe: Connection, log: Path) -> None:
    """Do the work until it is done, somebody ends it, or the parent is gone; say how it ended."""
    one_thread()
    logging.basicConfig(
        filename=log, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )

    def tell(news: Any) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # nobody listens
            pipe.send(news)

    with stop_after_round(BREAK_OFF_S) as asked:
        # Ctrl-C in a terminal reaches all processes; the parent decides what comes of it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            # Nothing is ever sent to a child: what can be read is that the parent is gone.
            parent = select.poll()  # asked after every message; `pipe.poll` makes one each time
            parent.register(pipe, select.POLLIN)
            end = work(tell, lambda: asked() or bool(parent.poll(0)))
        except (InputError, RadioError) as error:
            end = End(2, str(error))
        except KeyboardInterrupt:
            end = End(130, "stopped")
        except OSError as error:
            end = End(1, f"{error}; the same command with --resume goes on")
        _log.info("end: %s", end.reason)
        tell(end)
    sys.exit(end.code)


def air(bench: BenchFile, config: ExperimentConfig) -> Callable[[Tell, Stop], End]:
    """The virtual air of an experiment."""
    return partial(_air, bench, config)


def coordinator(
    bench: BenchFile, config: ExperimentConfig, folder: Path, resume: bool
) -> Callable[[Tell, Stop], End]:
    """Who leads the run."""
    return partial(_coordinator, bench, config, folder, resume)


def node(bench: BenchFile, name: str, state: Path) -> Callable[[Tell, Stop], End]:
    """A receiver or a device."""
    return partial(_node, bench, name, state)


def _air(bench: BenchFile, config: ExperimentConfig, tell: Tell, stop: Stop) -> End:
    with serving_air_of(bench, Experiment(config)) as (server, _):
        tell(Ready())
        server.serve(stop)
    return End(0, "the air is not needed any more")


def _coordinator(
    bench: BenchFile, config: ExperimentConfig, folder: Path, resume: bool, tell: Tell, stop: Stop
) -> End:
    return start_coordinator(bench, config, folder, resume, watch=tell, stop=stop).end


def _node(bench: BenchFile, name: str, state: Path, tell: Tell, stop: Stop) -> End:
    os.nice(NICE)
    if name == bench.receiver.name:
        return start_receiver(bench, state / name, stop)
    return start_device(bench, name, state / name, stop)
