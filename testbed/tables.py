"""Tables a person reads in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from testbed.on_air.replay import Replayed
from testbed.report.style import SCHEMES
from testbed.sweep import Sweep


def of_summaries(summaries: Mapping[str, dict[str, Any]]) -> Table:
    """Final evaluations by scheme, with the rounds that failed where any did."""
    failed = {scheme: summary["failed_rounds"] for scheme, summary in summaries.items()}
    finals = {scheme: summary["final"] for scheme, summary in summaries.items()}
    return of_scores(finals, failed if any(failed.values()) else None)


def of_scores(rows: Mapping[str, dict[str, Any]], failed: Mapping[str, int] | None = None) -> Table:
    """Evaluations by scheme; `failed` counts the rounds that failed, where that is known."""
    table = Table()
    table.add_column("scheme")
    titles = ["new devices", "training devices", "gap", "rounds", "channel uses"]
    for title in titles + (["failed"] if failed else []):
        table.add_column(title, justify="right")
    for scheme, row in rows.items():
        cells = [
            score(row["heldout"]),
            score(row["train"]),
            _gap(row),
            str(row["round"]),
            f"{row['channel_uses']:,}" if row["channel_uses"] else "–",
        ]
        table.add_row(SCHEMES[scheme][0], *cells, *([str(failed[scheme])] if failed else []))
    return table


def of_replay(rounds: Sequence[Replayed]) -> Table:
    """Rounds received again from their recordings."""
    table = Table()
    for title in ("round", "devices heard", "NMSE predicted", "estimate"):
        table.add_column(title, justify="right")
    for one in rounds:
        verdict = "the same" if one.same else "another"
        db = one.nmse_predicted_db
        if db is None:
            table.add_row(str(one.round), str(one.heard), "–", "none, as in the run")
        else:
            table.add_row(str(one.round), str(one.heard), f"{db:.2f} dB", verdict)
    return table


def score(value: Mapping[str, Any]) -> str:
    """`94.3 ± 0.4 %`, or the loss of a regression."""
    if value["accuracy"] is None:
        return f"loss {value['loss']:.3f} ± {value['loss_ci95']:.3f}"
    return f"{100 * value['accuracy']:.1f} ± {100 * value['accuracy_ci95']:.1f} %"


def _gap(row: Mapping[str, Any]) -> str:
    has_accuracy = row["train"]["accuracy"] is not None
    return f"{100 * row['gap']:+.1f}" if has_accuracy else f"{row['gap']:+.3f}"


def of_shipped(kind: str, shipped: Mapping[str, str]) -> Table:
    """Names and descriptions of the files of a kind."""
    table = Table(kind, "what it is")
    for name, description in shipped.items():
        table.add_row(name, description)
    return table


def of_sweep(sweep: Sweep) -> Table:
    """Cells with their status and their score on new devices."""
    table = Table("cell", "status", "new devices")
    for cell in sweep.cells:
        final = sweep.final_of(cell)
        table.add_row(
            cell.label,
            cell.status if cell.error is None else f"{cell.status}: {cell.error}",
            score(final["heldout"]) if final else "–",
        )
    return table
