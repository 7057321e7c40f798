"""The folder of a run: what was asked, what happened round by round, and how to go on.

`rounds.jsonl`, `evaluations.jsonl`, `summary.json` and `checkpoint.npz` are functions of the
configuration alone: the same seed gives the same bytes, interrupted or not. Whatever depends on the
machine or the hour (timings, versions) lives in files of its own.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import os
import platform
import subprocess
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from fl_core.errors import InputError
from fl_core.round import RoundState
from radio.whole_file import remove_unfinished, write_atomically
from testbed.config import ExperimentConfig
from testbed.held_folder import held

CELL_FILE, LOG_FILE = "experiment.yaml", "cell.log"  # what a sweep leaves in a cell
ROWS = ("rounds.jsonl", "timings.jsonl", "evaluations.jsonl")
HASHES = "calibration_sha256"  # key of the manifest
NODES, EVENTS = "nodes", "tensorboard"  # what a command makes before the run's first file
CALIBRATION = "calibration"  # of a run that begins with one, or is given one of another run
# What numpy and zipfile raise on files that are none of theirs; RuntimeError on "encrypted" ones.
DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError)
RECORDED_PACKAGES = ("torch", "numpy", "scipy", "ducc0", "pydantic", "matplotlib")


class RunFolder:
    """Writes one run; every file appears whole or not at all, rows are appended."""

    def __init__(self, path: Path, config: ExperimentConfig) -> None:
        self.path = path
        self._config = config

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other process from writing here meanwhile; makes the folder if it is new.

        Raises:
            InputError: another process holds it, or it cannot be made.
        """
        with held(self.path, "run"):
            yield

    def create(self, dim: int) -> None:
        """Write configuration and manifest; what a run was begun with stays in the manifest."""
        try:
            write_atomically(self.path / "config.yaml", as_yaml(self._config).encode())
            manifest: dict[str, Any] = {
                "airmeta": importlib.metadata.version("airmeta"),
                "git_revision": git_revision(),
                "config_sha256": config_hash(self._config),
                "dim": dim,
                "versions": {
                    "python": platform.python_version(),
                    **{name: importlib.metadata.version(name) for name in RECORDED_PACKAGES},
                },
            }
            begun = self._manifest()
            if begun is not None:
                manifest = _gone_on(begun, manifest, ("git_revision", "versions"))
            write_atomically(self.path / "manifest.json", _json(manifest))
        except OSError as error:
            raise InputError(f"{self.path}: the run folder cannot be written ({error})") from error

    def note_calibration(self, hashes: Mapping[str, str]) -> None:
        """Write into the manifest what the run's radios are calibrated with.

        Args:
            hashes: SHA-256 of profiles and plan by file; what a run was begun with stays.
        """
        begun = self._manifest()
        assert begun is not None  # `create` wrote it
        now = {HASHES: dict(hashes)}
        manifest = _gone_on(begun, now, (HASHES,)) if HASHES in begun else begun | now
        try:
            write_atomically(self.path / "manifest.json", _json(manifest))
        except OSError as error:
            raise InputError(f"{self.path}: the run folder cannot be written ({error})") from error

    def append(self, rows: str, row: Mapping[str, Any]) -> None:
        """Add a row to one of `ROWS`."""
        with (self.path / rows).open("a") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")

    def rows(self, rows: str) -> list[dict[str, Any]]:
        """The rows of one of `ROWS` so far."""
        path = self.path / rows
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def save(self, state: RoundState, **more: npt.NDArray[Any]) -> None:
        """Write the checkpoint, with arrays that only some runs have."""
        devices = np.array(sorted(state.memory), dtype=np.int64)
        memory = [state.memory[int(i)] for i in devices]
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {
            "params": state.params,
            "devices": devices,
            "memory": np.stack(memory) if memory else np.zeros((0, len(state.params)), np.float32),
            "round_index": np.int64(state.round_index),
            "channel_uses": np.int64(state.channel_uses),
            "config_sha256": np.array(config_hash(self._config)),
            **more,
        }
        np.savez(buffer, **arrays)
        for name in ROWS:  # what the checkpoint stands on must be on the disk before it
            if (self.path / name).exists():
                with (self.path / name).open("rb") as file:
                    os.fsync(file.fileno())
        write_atomically(self.path / "checkpoint.npz", buffer.getvalue())

    def resume(self) -> RoundState | None:
        """The state at the last checkpoint with later rows dropped, or None where nothing is.

        Raises:
            InputError: the checkpoint is damaged, or the folder belongs to another configuration.
        """
        checkpoint = self.path / "checkpoint.npz"
        remove_unfinished(checkpoint)
        if not checkpoint.exists():
            self.check_owner()
            self._truncate(0)
            return None
        state, owner = load_checkpoint(checkpoint)
        if owner != config_hash(self._config):
            raise InputError(self._foreign())
        self._truncate(state.round_index)
        return state

    def checkpointed(self, name: str) -> npt.NDArray[Any]:
        """One of the arrays that only some runs have; InputError where this one has none."""
        path = self.path / "checkpoint.npz"
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
                array: npt.NDArray[Any] = data[name]
                return array
        except DAMAGED as error:
            raise InputError(
                f"{path}: holds no {name}; another kind of run was begun here"
            ) from error

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the summary, which marks the run complete."""
        write_atomically(self.path / "summary.json", _json(summary))

    def check_owner(self) -> None:
        """InputError when the folder belongs to another configuration."""
        manifest = self._manifest()
        if manifest is None:
            left = {p.name for p in self.path.iterdir()} if self.path.is_dir() else set()
            if left - {CELL_FILE, LOG_FILE, NODES, EVENTS, CALIBRATION}:
                raise InputError(f"{self.path}: is not empty and no run; give another --out")
        elif manifest["config_sha256"] != config_hash(self._config):
            raise InputError(self._foreign())

    def _manifest(self) -> dict[str, Any] | None:
        path = self.path / "manifest.json"
        if not path.exists():
            return None
        try:
            manifest = dict(json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise InputError(f"{path}: is damaged; start again in another folder") from error
        if "config_sha256" not in manifest:
            raise InputError(f"{path}: is damaged; start again in another folder")
        return manifest

    def _foreign(self) -> str:
        return (
            f"{self.path}: holds a run of another configuration (see its config.yaml); "
            "resume it with the same experiment and overrides, or give another --out"
        )

    def _truncate(self, rounds: int) -> None:
        """Drop rows written after the checkpoint, a half-written last one included.

        Raises:
            InputError: rows from before the checkpoint are missing or damaged.
        """
        kept = {name: self._rows_until(name, rounds) for name in ROWS}
        (self.path / "summary.json").unlink(missing_ok=True)
        for name, lines in kept.items():
            if lines or (self.path / name).exists():
                write_atomically(self.path / name, "".join(lines).encode())

    def _rows_until(self, name: str, rounds: int) -> list[str]:
        path = self.path / name
        lines, numbers = [], []
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                number = json.loads(line)["round"]
            except (ValueError, KeyError, TypeError):
                break
            if number >= rounds + (name == "evaluations.jsonl" and rounds > 0):
                break
            lines.append(line + "\n")
            numbers.append(number)
        if name != "evaluations.jsonl" and numbers != list(range(rounds)):
            raise InputError(
                f"{path}: should hold the {rounds} rounds before the checkpoint, has "
                f"{len(numbers)} in order; the run cannot be resumed, start it in another folder"
            )
        return lines


def load_checkpoint(path: Path) -> tuple[RoundState, str]:
    """State and configuration hash of a checkpoint; InputError when missing or damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            devices, memory = data["devices"], data["memory"]
            state = RoundState(
                params=data["params"],
                memory={int(i): m for i, m in zip(devices, memory, strict=True)},
                round_index=int(data["round_index"]),
                channel_uses=int(data["channel_uses"]),
            )
            return state, str(data["config_sha256"])
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no checkpoint; is it a run folder?") from error
    except DAMAGED as error:
        raise InputError(
            f"{path}: the checkpoint is damaged ({error}); delete it to start the run again"
        ) from error


def as_yaml(config: ExperimentConfig) -> str:
    """The resolved configuration, as `airmeta run` reads it back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def config_hash(config: ExperimentConfig) -> str:
    """SHA-256 of everything in the configuration that decides results."""
    settings = config.model_dump(mode="json", exclude={"workers", "description", "references"})
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def git_revision() -> str | None:
    """Revision of the checkout this package runs from, with ``+`` when it has changes."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--dirty=+"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None


def _gone_on(
    begun: Mapping[str, Any], now: Mapping[str, Any], keys: tuple[str, ...]
) -> dict[str, Any]:
    """The manifest of a run that goes on, perhaps with something else than it had last."""
    resumed = list(begun.get("resumed_with", ()))
    last: dict[str, Any] = {}
    for one in (begun, *resumed):
        last.update(one)
    if any(last.get(key) != now[key] for key in keys):
        resumed.append(now)
    return {**begun, **({"resumed_with": resumed} if resumed else {})}


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()
