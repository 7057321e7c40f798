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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fl_core.errors import InputError
from fl_core.round import RoundState
from testbed.config import ExperimentConfig

ROWS = ("rounds.jsonl", "timings.jsonl", "evaluations.jsonl")
RECORDED_PACKAGES = ("torch", "numpy", "scipy", "ducc0", "pydantic", "matplotlib")


class RunFolder:
    """Writes one run; every file appears whole or not at all, rows are appended."""

    def __init__(self, path: Path, config: ExperimentConfig) -> None:
        self.path = path
        self._config = config

    def create(self, dim: int) -> None:
        """Make the folder and write configuration and manifest; InputError if it cannot be."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            text = yaml.safe_dump(self._config.model_dump(mode="json"), sort_keys=False)
            write_atomically(self.path / "config.yaml", text.encode())
            manifest = {
                "airmeta": importlib.metadata.version("airmeta"),
                "git_revision": git_revision(),
                "config_sha256": config_hash(self._config),
                "dim": dim,
                "versions": {
                    "python": platform.python_version(),
                    **{name: importlib.metadata.version(name) for name in RECORDED_PACKAGES},
                },
            }
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

    def save(self, state: RoundState) -> None:
        """Write the checkpoint."""
        devices = np.array(sorted(state.memory), dtype=np.int64)
        memory = [state.memory[int(i)] for i in devices]
        buffer = io.BytesIO()
        np.savez(
            buffer,
            params=state.params,
            devices=devices,
            memory=np.stack(memory) if memory else np.zeros((0, len(state.params)), np.float32),
            round_index=np.int64(state.round_index),
            channel_uses=np.int64(state.channel_uses),
            config_sha256=np.array(config_hash(self._config)),
        )
        write_atomically(self.path / "checkpoint.npz", buffer.getvalue())

    def resume(self) -> RoundState | None:
        """The state at the last checkpoint with later rows dropped, or None where nothing is.

        Raises:
            InputError: the checkpoint is damaged, or the folder belongs to another configuration.
        """
        checkpoint = self.path / "checkpoint.npz"
        if not checkpoint.exists():
            self.check_owner()
            self._truncate(0)
            return None
        state, owner = load_checkpoint(checkpoint)
        if owner != config_hash(self._config):
            raise InputError(self._foreign())
        self._truncate(state.round_index)
        return state

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the summary, which marks the run complete."""
        write_atomically(self.path / "summary.json", _json(summary))

    def check_owner(self) -> None:
        """InputError when the folder belongs to another configuration."""
        manifest = self.path / "manifest.json"
        if not manifest.exists():
            return
        try:
            owner = json.loads(manifest.read_text())["config_sha256"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{manifest}: is damaged; start again in another folder") from error
        if owner != config_hash(self._config):
            raise InputError(self._foreign())

    def _foreign(self) -> str:
        return (
            f"{self.path}: holds a run of another configuration (see its config.yaml); "
            "resume it with the same experiment and overrides, or give another --out"
        )

    def _truncate(self, rounds: int) -> None:
        """Drop rows written after the checkpoint, a half-written last one included."""
        (self.path / "summary.json").unlink(missing_ok=True)
        for name in ROWS:
            path = self.path / name
            if not path.exists():
                continue
            kept = []
            for line in path.read_text().splitlines():
                try:
                    row = json.loads(line)
                except ValueError:
                    break
                done = row["round"] if name == "evaluations.jsonl" else row["round"] + 1
                if done > rounds or (name == "evaluations.jsonl" and rounds == 0):
                    break
                kept.append(line + "\n")
            write_atomically(path, "".join(kept).encode())


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
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: the checkpoint is damaged ({error}); delete it to start the run again"
        ) from error


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


def write_atomically(path: Path, content: bytes) -> None:
    """Write through a temporary file, so that the path holds the old bytes or all the new ones."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()
