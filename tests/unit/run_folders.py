"""Synthetic run and sweep folders, and a reader of the pages made from them."""

import itertools
import json
import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import yaml

FINAL = {"ideal": 0.955, "air": 0.947, "noiseless": 0.950, "digital": 0.84, "conventional": 0.76}
SYMBOLS = 11_394


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def score(accuracy: float, *, regression: bool = False) -> dict[str, Any]:
    return {
        "accuracy": None if regression else accuracy,
        "accuracy_ci95": None if regression else 0.004,
        "loss": 2.0 * (1.0 - accuracy),
        "loss_ci95": 0.01,
        "tasks": 400,
    }


def write_run(
    folder: Path,
    *,
    scheme: str = "air",
    rounds: int = 60,
    seed: int = 0,
    snr_db: float = 19.0,
    final: float | None = None,
    gap: float = 0.013,
    references: tuple[str, ...] = (),
    regression: bool = False,
) -> Path:
    rng = np.random.default_rng([seed, sum(map(ord, scheme))])
    folder.mkdir(parents=True)
    config = {
        "name": "omniglot-5w1s",
        "seed": seed,
        "rounds": rounds,
        "scheme": scheme,
        "task": {"family": "omniglot", "ways": 5, "shots": 1, "queries": 15},
        "model": {"name": "conv4", "width": 32},
        "learner": {"adapt_lr": 0.1, "meta_lr": 0.15, "order": "second"},
        "devices": {"num_devices": 100, "num_active": 10},
        "sparsifier": {"kind": "top_k", "density": 0.04},
        "compression": {"ratio": 0.4, "rows": "half"},
        "channel": {"fading": "rayleigh", "snr_db": snr_db},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    manifest = {
        "airmeta": "0.1.0",
        "git_revision": "0123abc",
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
        "config_sha256": "ab" * 32,
        "dim": 28485,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    top = FINAL.get(scheme, 0.6) if final is None else final
    air = scheme in ("air", "conventional", "digital")
    count = 0 if scheme == "local" else rounds
    rows: list[dict[str, Any]] = []
    for i in range(count):
        row: dict[str, Any] = {
            "round": i,
            "loss": 0.25 + 1.3 * math.exp(-4 * i / rounds) + 0.08 * rng.standard_normal(),
            "devices": sorted(rng.choice(100, 10, replace=False).tolist()),
            "meta_lr": 0.15,
        }
        if air:
            beyond = bool(rng.random() < 0.02)
            predicted = -3.0 if beyond else -25.0 + 6 * i / rounds + 0.6 * rng.standard_normal()
            row |= {
                "nmse_db": predicted + 0.2 + 0.3 * rng.standard_normal(),
                "nmse_predicted_db": predicted,
                "snr_db": snr_db + 10 + rng.standard_normal(),
                "union_density": 0.2 + 0.03 * rng.random(),
                "participation": float(rng.choice([1.0, 0.9], p=[0.9, 0.1])),
                "papr_db": 9.5 + 0.5 * rng.standard_normal(),
                "symbols": SYMBOLS,
                "channel_uses": SYMBOLS * (i + 1),
                "iterations": 15,
                "beyond_transition": beyond,
                "failed": beyond,
            }
        rows.append(row)
    evaluations = []
    for done in [0] if scheme == "local" else range(0, rounds + 1, rounds // 6):
        heldout = top - (top - 0.6) * math.exp(-6 * done / rounds) if count else 0.6
        train = heldout + gap
        evaluations.append(
            {
                "round": done,
                "channel_uses": SYMBOLS * done if air else 0,
                "train": score(train, regression=regression),
                "heldout": score(heldout, regression=regression),
                "gap": None if regression else gap,
            }
        )
    write_jsonl(folder / "evaluations.jsonl", evaluations)
    if count:
        write_jsonl(folder / "rounds.jsonl", rows)
        stages = {
            "update": 0.21,
            "sparsify": 0.004,
            "air": 0.002,
            "estimate": 0.015,
            "server": 1e-3,
        }
        if not air:
            del stages["air"], stages["estimate"]
        write_jsonl(folder / "timings.jsonl", [{"round": i, **stages} for i in range(count)])
    summary = {"rounds": count, "final": evaluations[-1]}
    (folder / "summary.json").write_text(json.dumps(summary))
    for name in references:
        write_run(
            folder / "references" / name,
            scheme=name,
            rounds=rounds,
            seed=seed,
            snr_db=snr_db,
            regression=regression,
        )
    return folder


def write_sweep(folder: Path, axes: dict[str, list[Any]], **options: Any) -> Path:
    cells = []
    for values in itertools.product(*axes.values()):
        overrides = dict(zip(axes, values, strict=True))
        name = "cells/" + ",".join(f"{key}={value}" for key, value in overrides.items())
        seed = overrides.get("seed", 0)
        rng = np.random.default_rng([seed, 7])
        final = 0.94 - 0.5 / (overrides.get("channel.snr_db", 19) + 2)
        final += 0.04 * math.log10(overrides.get("sparsifier.density", 0.04) / 0.04)
        final += 0.06 * math.log10(overrides.get("compression.ratio", 0.4) / 0.4)
        write_run(
            folder / name,
            seed=seed,
            snr_db=overrides.get("channel.snr_db", 19.0),
            final=final + 0.006 * rng.standard_normal(),
            gap=0.012 + 0.004 * rng.standard_normal(),
            **options,
        )
        cells.append({"overrides": overrides, "folder": name, "status": "done", "error": None})
    plan = {"name": folder.name, "experiment": "omniglot-5w1s", "axes": axes, "cells": cells}
    (folder / "sweep.json").write_text(json.dumps(plan))
    return folder


class Page(HTMLParser):
    """Cells of the tables, visible text, and whatever the page would load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.references: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self._cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.references += [v for k, v in attrs if k in ("src", "href", "srcset") and v]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._cell:
            self.rows[-1][-1] = " ".join((self.rows[-1][-1] + data).split())

    def row(self, label: str) -> list[str]:
        return next(row for row in self.rows if row and row[0].startswith(label))


def read(path: Path) -> Page:
    return Page(path.read_text())


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
