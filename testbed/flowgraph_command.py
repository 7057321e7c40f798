"""`airmeta flowgraph`: list GNU Radio flowgraphs, compile one, run one, open one in its editor."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from fl_core.errors import InputError
from flowgraphs.compiler import compiled, environment, gnu_radio
from flowgraphs.grc_file import GrcFile, shipped
from flowgraphs.runner import Flowgraph
from radio.api import RadioError
from testbed.options import Json
from testbed.runs import stop_after_round
from testbed.terminal import STOPPED, console, messages, print_json

EDITOR = "gnuradio-companion"
POLL_S = 0.2

flowgraph_app = typer.Typer(help="GNU Radio flowgraphs.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A shipped flowgraph or the path of a .grc file.")]
Parameters = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="Parameters of it.")
]


@flowgraph_app.command(name="list", epilog="Example: `airmeta flowgraph list`")
def list_flowgraphs(as_json: Json = False) -> None:
    """The flowgraphs that come with AirMeta, and what can be set in each."""
    files = [GrcFile(path) for path in shipped().values()]
    if as_json:
        print_json({"flowgraphs": [_row(file) for file in files]})
        return
    table = Table("flowgraph", "what it does", "parameters")
    for file in files:
        settable = (
            f"{name}={each.default}" + (f" ({'|'.join(each.choices)})" if each.choices else "")
            for name, each in file.parameters.items()
        )
        table.add_row(file.name, file.description, "\n".join(settable))
    console.print(table)


@flowgraph_app.command(name="compile", epilog="Example: `airmeta flowgraph compile device_tx`")
def compile_flowgraph(name: Name, parameters: Parameters = None, as_json: Json = False) -> None:
    """Compile a flowgraph with grcc into the cache; what runs is compiled by itself, too."""
    file = GrcFile.named(name)
    program = compiled(file, file.checked(_pairs(parameters)), os.environ)
    if as_json:
        about = program.gnuradio
        print_json({"program": str(program.path), "gnuradio": about.version, "with": about.python})
    else:
        console.print(str(program.path), soft_wrap=True, markup=False, highlight=False)


@flowgraph_app.command(
    epilog="Example: `airmeta flowgraph run device_tx sink=pluto uri=ip:192.168.2.1`"
)
def run(
    name: Name,
    parameters: Parameters = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.0, help="Stop then; default when it ends, or Ctrl-C.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a flowgraph until it ends or is stopped, and show what it says."""
    with stop_after_round() as stop, Flowgraph(name, _pairs(parameters)) as graph:
        if not as_json:
            told = [f"{key}: {place}" for key, place in graph.endpoints.items()]
            messages.print(f"{graph.name} runs", *told, sep="\n  ", markup=False, soft_wrap=True)
        until_s = None if seconds is None else time.monotonic() + seconds
        try:
            while not (stop() or graph.is_over or (until_s and time.monotonic() > until_s)):
                graph.wait(POLL_S)
        except RadioError as error:  # it ran: nothing was wrong with what was asked for
            messages.print(f"airmeta: {error}", style="red", markup=False, soft_wrap=True)
            raise typer.Exit(1) from error
        stopped, over, log = stop(), graph.is_over, graph.log
    if as_json:
        print_json({"flowgraph": graph.name, "over": over, "stopped": stopped, "log": log})
    elif log:
        console.print(log, markup=False, highlight=False, soft_wrap=True)
    if stopped:
        raise typer.Exit(STOPPED)


@flowgraph_app.command(epilog="Example: `airmeta flowgraph edit device_tx`")
def edit(name: Name) -> None:
    """Open a flowgraph in GNU Radio Companion, where it finds AirMeta's own blocks."""
    file, gnuradio = GrcFile.named(name), gnu_radio(os.environ)
    beside = Path(gnuradio.python).with_name(EDITOR)
    editor = str(beside) if beside.exists() else shutil.which(EDITOR)
    if editor is None:
        raise InputError(f"{EDITOR} is not there; it comes with GNU Radio's package")
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise InputError(f"{EDITOR} needs a display; run this where there is one, or `ssh -X`")
    command = [gnuradio.python, editor, str(file.path)]
    if subprocess.run(command, env=environment(os.environ), check=False).returncode:
        raise typer.Exit(1)


def _pairs(texts: list[str] | None) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts or []]
    for text, (name, equals, _) in zip(texts or [], pairs, strict=True):
        if not name or not equals:
            raise InputError(f"{text!r}: a parameter should read name=value")
    return {name: value for name, _, value in pairs}


def _row(file: GrcFile) -> dict[str, object]:
    return {
        "name": file.name,
        "title": file.title,
        "description": file.description,
        "path": str(file.path),
        "parameters": {
            name: {
                "default": each.default,
                "label": each.label,
                "kind": each.kind,
                "choices": list(each.choices),
            }
            for name, each in file.parameters.items()
        },
    }
