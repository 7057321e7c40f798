"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ExperimentName = Annotated[str, typer.Argument(help="A shipped name or the path of a .yaml file.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change.")
]
Out = Annotated[Path | None, typer.Option(help="Folder to write; default runs/NAME.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where the run was stopped.")]
Json = Annotated[bool, typer.Option("--json", help="Print the figures as JSON on stdout.")]
Carrier = Annotated[
    float | None, typer.Option("--carrier-hz", help="Carrier; default as the radio has it.")
]
Rate = Annotated[
    float | None, typer.Option("--rate-hz", help="Sample rate; default as the radio has it.")
]
