"""What a person reads of profiles in the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from calibration.power.plan import GainPlan
from calibration.profiles.profile import Profile
from testbed.calibrating.difference import Change
from testbed.calibrating.inspection import Verdict
from testbed.calibrating.values import (
    curves_of,
    facts_of,
    is_fresh,
    measured,
    minus,
    planned_rows,
    values_of,
)

COLOURS = {"exceeds": "red", "changed": "yellow"}


def print_profile(console: Console, label: str, profile: Profile, now: datetime) -> None:
    """All of one profile, under what its radio is called."""
    title = f"{label}: {profile.source}"
    console.print(title, style="bold", soft_wrap=True, markup=False, highlight=False)
    for name, text in facts_of(profile, now).items():
        bad = name == "valid" and not is_fresh(profile, now)
        console.print(
            f"  {name:<12} {text}",
            style="red" if bad else None,
            soft_wrap=True,
            markup=False,
            highlight=False,
        )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 2))
    table.add_column("quantity")
    for title in ("value", "± 95 %", "unit", "tolerance"):
        table.add_column(title, justify="left" if title == "unit" else "right")
    for value in values_of(profile):
        table.add_row(value.title, value.value, value.interval, value.unit, value.tolerance)
    if table.row_count:
        console.print(table)
    for title, text in curves_of(profile).items():
        console.print(f"  {title}: {text}", markup=False, highlight=False)
    console.print()


def of_changes(changes: Sequence[Change]) -> Table:
    """What was, and by how much it changed: in units, and in doubts."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("quantity")
    for title in ("old", "change", "± 95 %"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    for title in ("in σ", "limit"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for change in changes:
        old, difference, doubts = change.old, change.difference, change.doubts
        moved, half = ("–", "–") if difference is None else measured(difference)
        table.add_row(
            change.title + ("" if change.setting is None else minus(f" at {change.setting:.4g}")),
            "–" if old is None else measured(old)[0],
            moved if moved[0] in "−–" else f"+{moved}",
            half,
            change.unit,
            "–" if doubts is None else "∞" if math.isinf(doubts) else f"{doubts:.1f}",
            "" if change.tolerance is None else f"{change.tolerance:g}",
            Text(change.verdict, style=COLOURS.get(change.verdict, "")),
        )
    return table


def print_verdicts(console: Console, verdicts: Sequence[Verdict]) -> None:
    """Who is fine, and what is wrong with whom."""
    width = max((len(one.name) for one in verdicts), default=0)
    for one in verdicts:
        serial = f"  {one.serial}" if one.serial else ""
        if not one.faults:
            console.print(
                f"{one.name:<{width}}  ok{serial}", soft_wrap=True, markup=False, highlight=False
            )
        for fault in one.faults:
            text = f"{one.name:<{width}}  {fault}"
            console.print(text, style="red", soft_wrap=True, markup=False, highlight=False)


def print_plan(console: Console, plan: GainPlan) -> None:
    """What each device sends with, what arrives of it, and why."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("device")
    for title in ("tx gain (dB)", "arrives (dBm)", "off (dB)"):
        table.add_column(title, justify="right")
    table.add_column("verdict")
    for name, *cells, verdict in planned_rows(plan):
        table.add_row(name, *cells, Text(verdict, style="" if verdict == "meets" else "red"))
    console.print(table)
    for reason in plan.reasons:
        console.print(reason, soft_wrap=True, highlight=False, markup=False)
