"""How a run stands, as figures for people: what `airmeta status` shows."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from typing import Any

from testbed.nodes.coordinator_state import CoordinatorState, Node


def overview(state: CoordinatorState, refused: Mapping[str, int]) -> dict[str, Any]:
    """Everything in JSON types.

    Args:
        state: of the coordinator.
        refused: what came in from outside and was not taken, by reason.
    """
    brief = state.brief
    end = state.ended or state.ending
    return {
        "run": brief.run,
        "pid": os.getpid(),
        "host": platform.node(),
        "phase": "ended" if state.ended else state.phase,
        "stage": None if state.stage is None else state.stage.name,
        "round": state.round,
        "rounds": brief.rounds,
        "calls": 0 if state.now is None else state.now.calls,
        "waits_for": sorted(state.unanswered),
        "end": None if end is None else end.reason,
        "refused": dict(refused),
        "nodes": {name: _of(node) for name, node in state.nodes.items()},
    }


def _of(node: Node) -> dict[str, Any]:
    return {
        "here": node.here,
        "asked": node.asked,
        "applied": node.applied,
        "faults": dict(node.faults),
        **{name: node.figures.get(name) for name in ("gain", "snr_db", "cfo_hz", "phase_deg")},
    }
