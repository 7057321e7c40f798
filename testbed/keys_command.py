"""`airmeta keys`: make keys for nodes and radio servers, list them, allow those of other hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from fl_core.errors import InputError
from radio.keys import allow, new_pairs, read_allowed, secrets_in
from testbed.options import Json
from testbed.terminal import console, print_json

keys_app = typer.Typer(
    help="Make, list and allow the keys that nodes and radios know each other by.",
    no_args_is_help=True,
)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A folder of keys.")]


@keys_app.command(epilog="Example: `airmeta keys new d3 --out keys`")
def new(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Nodes of this machine.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("keys"),
    as_json: Json = False,
) -> None:
    """Make a key pair for each node; NAME.secret stays here, NAME.public is for the others."""
    pairs = new_pairs(out, names)
    if as_json:
        rows = {n: {"secret": str(s), "public": str(p)} for n, (s, p) in pairs.items()}
        print_json(rows)
    else:
        for name, (secret, public) in pairs.items():
            console.print(f"{name}: {secret}, {public}", soft_wrap=True)


@keys_app.command(name="list", epilog="Example: `airmeta keys list keys`")
def list_keys(folder: Folder = Path("keys"), as_json: Json = False) -> None:
    """Who is allowed, and whose secrets lie here."""
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; `airmeta keys new NAME --out DIR`")
    allowed, own = read_allowed(folder), secrets_in(folder)
    names = sorted({*allowed, *own})
    if as_json:
        rows = [{"name": n, "public": allowed.get(n), "secret_here": n in own} for n in names]
        print_json({"keys": rows})
        return
    table = Table("node", "public key", "secret")
    for name in names:
        public = allowed.get(name, "missing: not allowed")
        table.add_row(name, Text(public), "here" if name in own else "–")  # keys hold brackets
    console.print(table)


@keys_app.command(name="allow", epilog="Example: `airmeta keys allow usb/d3.public keys`")
def allow_node(
    public: Annotated[Path, typer.Argument(metavar="NAME.public", help="From another host.")],
    folder: Folder = Path("keys"),
    as_json: Json = False,
) -> None:
    """Believe a node of another host; deleting DIR/NAME.public ends that."""
    name = allow(folder, public)
    if as_json:
        print_json({"allowed": name})
    else:
        console.print(f"{name}: allowed", soft_wrap=True)
