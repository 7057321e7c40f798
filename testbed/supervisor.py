"""`airmeta up`: all nodes of a bench on this machine, each in its own process.

Processes are forked from one that has imported everything, so fifty of them cost little more than
one. A node that dies is started again, a few times; one that refuses is not. Whatever happens, none
of them outlives this process.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from testbed.bench_config import COORDINATOR
from testbed.bench_file import BenchFile
from testbed.config import ExperimentConfig
from testbed.experiment import Progress, Watch
from testbed.nodes.child import AIR, BREAK_OFF_S, Ready, air, coordinator, live, node
from testbed.nodes.shell import End
from testbed.run_folder import NODES
from testbed.runs import stop_after_round

POLL_S = 0.1
AIR_S = 60.0  # in which the virtual air has to be there
GOODBYE_S = 3.0  # in which nodes end when the run is over
GRACE_S = 1.5  # in which they end when they are told to


class Child:
    """A process of the bench, started again when it dies.

    Attributes:
        name: of the node.
        pipe: our end; its end in the child says when we are gone.
        end: how it ended, once it has said so.
    """

    def __init__(
        self, name: str, work: Callable[[bool], Callable[..., End]], log: Path, restarts: int
    ) -> None:
        """Nothing runs yet.

        Args:
            name: of the node.
            work: what it does, given whether it was started before.
            log: file it writes what happens to.
            restarts: how often it may be started again.
        """
        self.name = name
        self._work = work
        self._log = log
        self._restarts = restarts
        self._process: BaseProcess | None = None
        self.pipe: Connection | None = None
        self.end: End | None = None

    def start(self, again: bool = False) -> None:
        """Start it."""
        context = multiprocessing.get_context("forkserver")
        self.pipe, theirs = context.Pipe()
        self.end = None
        process = context.Process(
            target=live, args=(self._work(again), theirs, self._log), name=self.name
        )
        process.start()
        self._process = process
        theirs.close()

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.is_alive()

    def revive(self) -> bool:
        """Start it again if it has died without a word and may be; whether it was."""
        if self.is_alive or self._process is None or self._restarts == 0:
            return False
        if self.end is not None and self.end.code != 1:
            return False
        self._restarts -= 1
        self.start(again=True)
        return True

    def terminate(self) -> None:
        """Tell it to end."""
        if self._process is not None and self._process.is_alive():
            self._process.terminate()

    def kill(self) -> None:
        """End it, and take its place away."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            if self.pipe is not None:
                self.pipe.close()

    def lost(self) -> End:
        """How it ended, whether it said so or not."""
        code = None if self._process is None else self._process.exitcode
        return self.end or End(1, f"{self.name} ended with exit code {code}; see {self._log}")


class Supervisor:
    """Starts a bench, and sees to it until the run is over.

    Args:
        bench: whose nodes are started; the experiment's number of devices.
        config: what runs.
        folder: of the run.
        resume: whether it goes on.
        watch: sees every round and score.
        say: shows a line about what happened to a node.
    """

    def __init__(
        self,
        bench: BenchFile,
        config: ExperimentConfig,
        folder: Path,
        resume: bool,
        watch: Watch,
        say: Callable[[str], None],
    ) -> None:
        self._watch = watch
        self._say = say
        self._is_air_there = False
        self._given_up: set[str] = set()
        self._sockets = bench.sockets
        self._logs = folder / NODES  # and what nodes keep
        self._logs.mkdir(parents=True, exist_ok=True)
        restarts = bench.config.restarts
        drawn = ["testbed.nodes.glyphs_drawn"] if config.task.family == "glyphs" else []
        multiprocessing.set_forkserver_preload(["testbed.nodes.preloaded", *drawn])
        names = [bench.receiver.name]
        names += [device.name for device in bench.devices[: config.devices.num_devices]]

        def child(name: str, work: Callable[[bool], Callable[..., End]], restarts: int) -> Child:
            return Child(name, work, self._logs / f"{name}.log", restarts)

        self._air = None
        if bench.config.air is not None:
            self._air = child(AIR, lambda again: air(bench, config), 0)
        self._coordinator = child(
            COORDINATOR,
            lambda again: coordinator(bench, config, folder, resume or again),
            restarts,
        )
        self._nodes = [
            child(name, partial(_node, bench, name, self._logs), restarts) for name in names
        ]
        self._receiver = self._nodes[0]

    def run(self, look: Callable[[], None]) -> End:
        """Until the run is over, or somebody stops it; `look` is called now and then."""
        # Starting the first child waits for seconds of imports, and does not look for signals.
        with self._all_ended(), stop_after_round(BREAK_OFF_S) as stop:
            start_forkserver()
            # The air first: radios are opened when nodes start.
            if self._air is not None:
                self._air.start()
            self._coordinator.start()
            ended = self._wait_for_air(stop)
            if ended is not None:
                return ended
            for one in self._nodes:
                one.start()
            while not stop():
                self._listen()
                look()
                ended = self._see_to()
                if ended is not None:
                    return ended
            return End(130, "stopped")

    def _wait_for_air(self, stop: Callable[[], bool]) -> End | None:
        """How the run ended, if it did before the air was there."""
        deadline = time.monotonic() + AIR_S
        while self._air is not None and not self._is_air_there:
            self._listen()
            if stop():
                return End(130, "stopped")
            if not self._air.is_alive:
                return self._air.lost()
            if time.monotonic() > deadline:
                return End(1, f"the air is not there after {AIR_S:g} s; is this machine so busy?")
        return None

    def _see_to(self) -> End | None:
        """Revive who died; how the run ended, once it has."""
        if self._air is not None and not self._air.is_alive:
            return self._air.lost()
        for one in (self._coordinator, *self._nodes):
            if one.is_alive or one.name in self._given_up:
                continue
            if one.revive():
                self._say(f"{one.name} died and was started again")
            elif one is self._coordinator or (one is self._receiver and one.lost().code):
                return one.lost()
            else:
                self._given_up.add(one.name)
                if one.lost().code:
                    self._say(f"{one.name} is out: {one.lost().reason}")
        return None

    def _listen(self) -> None:
        """Take what children say."""
        children = [c for c in (self._air, self._coordinator, *self._nodes) if c is not None]
        by_pipe = {c.pipe: c for c in children if c.pipe is not None and not c.pipe.closed}
        for pipe in multiprocessing.connection.wait(list(by_pipe), POLL_S):
            assert isinstance(pipe, Connection)
            try:
                said = pipe.recv()
            except (EOFError, OSError):  # it died, in the middle of a word perhaps
                pipe.close()
                continue
            match said:
                case Ready():
                    self._is_air_there = True
                case End():
                    by_pipe[pipe].end = said
                case Progress():
                    self._watch(said)

    @contextmanager
    def _all_ended(self) -> Iterator[None]:
        """Behind this nobody is left: nodes have time to mute their radios, the air goes last."""
        nodes = (self._coordinator, *self._nodes)
        try:
            yield
        finally:
            if self._coordinator.end is not None and self._coordinator.end.code == 0:
                self._wait(nodes, GOODBYE_S)
            for one in nodes:
                one.terminate()
            self._wait(nodes, GRACE_S)
            for one in nodes:
                one.kill()
            if self._air is not None:
                self._air.terminate()
                self._wait((self._air,), GRACE_S / 4)
                self._air.kill()
            with contextlib.suppress(OSError):  # there is none, or others have sockets in it
                self._sockets.rmdir()

    def _wait(self, children: tuple[Child, ...], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while any(c.is_alive for c in children) and time.monotonic() < deadline:
            self._listen()
        self._listen()


def start_forkserver() -> None:
    """Start the process that nodes are forked from; Ctrl-C in a terminal is not meant for it."""
    resource_tracker.ensure_running()  # by itself, as it unblocks signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _node(bench: BenchFile, name: str, state: Path, again: bool) -> Callable[..., End]:
    """What a node does is the same when it is started again."""
    return node(bench, name, state)
