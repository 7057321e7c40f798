"""Runs compiled flowgraphs, mostly one, under the interpreter that has GNU Radio.

    python host.py FD '{"graphs": [{"path": ..., "name": ..., "values": {...}}], "folder": ...,
                        "sockets": [...]}'

FD is a socket to whoever started it, with a line of JSON a message: from here ``ready``, ``set``,
``refused``, ``time`` and ``ended``; to here values to set, or none to ask for the time. Flowgraphs
stop on SIGTERM, and when that socket closes: a program that was killed leaves none behind, and none
of the socket files that ``sockets`` names. They are several where they share a radio that only one
process can have. This file is GPL-3.0-or-later, because it links GNU Radio; it imports nothing of
the rest of the tree.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import queue
import shutil
import signal
import socket
import sys
import threading
import traceback
from types import ModuleType
from typing import Any

from gnuradio import gr

END_S = 2.0  # in which blocks end, or are left
DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
LOOK_MS = 20  # after which windows do what they were told
POLL_MS = 1  # after which a block that had nothing to do looks again; GNU Radio waits for 250


class Control:
    """The other end: whoever started this."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._lock = threading.Lock()

    def say(self, kind: str, **told: object) -> None:
        """Send a message; whoever has gone needs none."""
        with self._lock:
            try:
                self._socket.sendall(json.dumps({"kind": kind, **told}).encode() + b"\n")
            except OSError:
                sys.stderr.write("nobody listens any more\n")

    def asked(self) -> Any:
        """All messages, until the other end closes."""
        for line in self._socket.makefile():
            yield _read(line)


class Together:
    """The flowgraphs of this process, which are begun, set and ended as one."""

    def __init__(self, told: list[dict[str, Any]]) -> None:
        self.modules = [_load(each["path"], each["name"]) for each in told]
        kinds = [getattr(m, each["name"]) for m, each in zip(self.modules, told, strict=True)]
        self.windows = next(filter(None, map(_windows, kinds)), None)
        self.graphs: list[Any] = []
        for module, kind, each in zip(self.modules, kinds, told, strict=True):
            graph = kind(**each["values"])
            _snippets(module, "main_after_init", graph)
            self.graphs.append(graph)

    @property
    def blocks(self) -> dict[str, Any]:
        """What they hold, by name."""
        return {name: block for graph in self.graphs for name, block in vars(graph).items()}

    def start(self) -> None:
        """Start them."""
        for module, graph in zip(self.modules, self.graphs, strict=True):
            graph.start()
            _snippets(module, "main_after_start", graph)

    def wait(self) -> None:
        """Wait until all have ended."""
        for graph in self.graphs:
            graph.wait()

    def end(self) -> None:
        """Stop them."""
        for graph in self.graphs:
            graph.stop()
        for module, graph in zip(self.modules, self.graphs, strict=True):
            graph.wait()
            _snippets(module, "main_after_stop", graph)

    def set(self, name: str, value: Any) -> None:
        """Set a parameter of all that have it."""
        for graph in self.graphs:
            if hasattr(graph, f"set_{name}"):
                getattr(graph, f"set_{name}")(value)

    def radio(self) -> dict[str, Any]:
        """What blocks of a radio that has a time tell: of the first seconds, their fraction, rate.

        Of each its carrier, and of the last that sends or receives its gain.
        """
        blocks = [each for each in self.blocks.values() if hasattr(each, "get_time_now")]
        now = blocks[0].get_time_now()
        sends = [each.input_signature().max_streams() > 0 for each in blocks]
        return {
            "whole_s": now.get_full_secs(),
            "part_s": now.get_frac_secs(),
            "rate_hz": blocks[0].get_samp_rate(),
            "carriers_hz": [each.get_center_freq() for each in blocks],
            "gains_db": {
                "tx_gain_db" if its else "rx_gain_db": each.get_gain()
                for each, its in zip(blocks, sends, strict=True)
            },
        }

    def show(self) -> None:
        """Show those that are windows."""
        for graph in self.graphs:
            if hasattr(graph, "show"):
                graph.show()


def main() -> None:
    """Run them until told otherwise."""
    control, told = Control(int(sys.argv[1])), _read(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: for whoever started this
    signal.signal(signal.SIGTERM, _leave)
    code = 1
    try:
        graphs = Together(told["graphs"])
        _hurry(graphs)
        graphs.start()
        control.say("ready", gnuradio=gr.version(), endpoints=_endpoints(graphs))
        threading.Thread(target=_await_end, args=(graphs, control), daemon=True).start()
        try:
            if graphs.windows is None:
                _serve(graphs, control)
            else:
                _show(graphs.windows, graphs, control)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is what happens
            _stop(graphs)
            for path in told["sockets"]:  # which ZMQ has no time to remove
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)  # noqa: PTH108 (no more than it needs is imported)
        code = 0
    except SystemExit as error:  # as a snippet says what is wrong
        code = 0 if error.code in (0, None) else 1
        if code:
            sys.stderr.write(f"{error.code}\n")
    except BaseException:  # noqa: BLE001 (it ends, and says why)
        traceback.print_exc()
    finally:
        shutil.rmtree(told["folder"], ignore_errors=True)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # some blocks never end, and would keep the process


def _read(text: str) -> Any:
    """JSON, in which a complex number is its two parts."""
    return json.loads(
        text, object_hook=lambda d: complex(**d) if d.keys() == {"real", "imag"} else d
    )


def _leave(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(0)


def _load(path: str, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, os.path.dirname(path))  # noqa: PTH120 (embedded modules lie beside it)
    spec.loader.exec_module(module)
    return module


def _snippets(module: ModuleType, section: str, graph: Any) -> None:
    """What the flowgraph has for that moment, as its own main function would do."""
    snippets = getattr(module, f"snippets_{section}", None)
    if snippets is not None:
        snippets(graph)


def _serve(graphs: Together, control: Control) -> None:
    """Do as told, until the other end closes."""
    for message in control.asked():
        _do(graphs, message["number"], message.get("values"), control)


def _windows(kind: type) -> Any:
    """Qt's application where a flowgraph of this class is a window, else None."""
    if not any(base.__name__ == "QWidget" for base in kind.__mro__):
        return None
    if not any(os.environ.get(name) for name in DISPLAYS):
        raise SystemExit(f"it is a window, and there is no display: none of {', '.join(DISPLAYS)}")
    from PyQt5 import Qt  # noqa: PLC0415 (which only some flowgraphs need)

    return Qt.QApplication(sys.argv[:1])


def _show(windows: Any, graphs: Together, control: Control) -> None:
    """Show them until the window or the other end closes; windows want this thread for all."""
    from PyQt5 import Qt  # noqa: PLC0415 (which only some flowgraphs need)

    asked: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def listen() -> None:
        for message in control.asked():
            asked.put(message)
        asked.put(None)

    def serve() -> None:
        while not asked.empty():
            if (message := asked.get()) is None:
                windows.quit()
                return
            _do(graphs, message["number"], message.get("values"), control)

    # An exception out of a timer would abort the process.
    signal.signal(signal.SIGTERM, lambda *_: asked.put(None))
    threading.Thread(target=listen, daemon=True).start()
    timer = Qt.QTimer()
    timer.timeout.connect(serve)
    timer.start(LOOK_MS)
    graphs.show()
    windows.exec_()
    control.say("ended")


def _hurry(graphs: Together) -> None:
    for block in graphs.blocks.values():
        if hasattr(block, "set_blkd_input_timer_value"):
            block.set_blkd_input_timer_value(POLL_MS)


def _endpoints(graphs: Together) -> dict[str, str]:
    """Where their ZMQ blocks are, as they say themselves."""
    blocks = graphs.blocks.items()
    return {
        name: block.last_endpoint() for name, block in blocks if hasattr(block, "last_endpoint")
    }


def _await_end(graphs: Together, control: Control) -> None:
    graphs.wait()
    control.say("ended")


def _do(graphs: Together, number: int, values: dict[str, Any] | None, control: Control) -> None:
    """Set values, or tell of the radio where there are none."""
    try:
        if values is None:
            control.say("radio", number=number, **graphs.radio())
            return
        for name, value in values.items():
            graphs.set(name, value)
    except Exception as error:  # noqa: BLE001 (a block refuses with whatever it likes)
        control.say("refused", number=number, why=f"{type(error).__name__}: {error}")
    else:
        control.say("set", number=number)


def _stop(graphs: Together) -> None:
    """Stop them; blocks that do not end in time are left."""
    ending = threading.Thread(target=graphs.end, daemon=True)
    ending.start()
    ending.join(END_S)


main()
