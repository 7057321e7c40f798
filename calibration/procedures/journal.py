"""What a calibration has found so far, on disk, so that it can be gone on with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from calibration.procedures.findings import Findings
from radio.api import RadioError
from radio.json_object import JsonObject
from radio.whole_file import write_atomically

FILE = "session.json"
LASTS = timedelta(days=1)  # until what was measured counts as of another bench
SOON = timedelta(hours=1)  # by which a clock may have been set back meanwhile
FORMAT, VERSION = "airmeta-calibration-session", 1

Json = dict[str, Any]


@dataclass(frozen=True)
class Done:
    """A procedure that is done.

    Attributes:
        name: of the procedure.
        how: the procedure with its parameters.
        at: when it ended.
        findings: of it.
        captures: metadata files of its recordings, in the folder of the journal.
    """

    name: str
    how: str
    at: datetime
    findings: Findings
    captures: tuple[str, ...]

    def to_json(self) -> Json:
        """As plain values."""
        return {
            "name": self.name,
            "how": self.how,
            "at": self.at.isoformat(),
            "findings": self.findings.to_json(),
            "captures": list(self.captures),
        }

    @classmethod
    def from_json(cls, keys: JsonObject) -> Done:
        """From plain values; RadioError for what is missing or wrong."""
        with keys.naming():
            return cls(
                keys.text("name"),
                keys.text("how"),
                datetime.fromisoformat(keys.text("at")),
                Findings.from_json(keys.object("findings")),
                tuple(keys.texts("captures")),
            )


class Journal:
    """Of one calibration, in a folder of its own.

    Attributes:
        done: procedures by name, in the order in which they were done.
        notice: why what the folder held cannot be gone on from; empty where nothing was lost.
    """

    def __init__(self, folder: Path, key: Mapping[str, Any], now: datetime) -> None:
        """The journal of a folder; a new one where it holds none of the same key.

        Args:
            folder: made where it is not there.
            key: what it was measured with, by name; plain values.
            now: the time, with a time zone.

        Raises:
            OSError: the folder cannot be made.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._key: Json = json.loads(json.dumps(key, allow_nan=False))
        self.done: dict[str, Done] = {}
        self.notice = ""
        if (folder / FILE).exists():
            try:
                self.done = self._read(now)
            except RadioError as error:
                self.notice = f"begins anew: {error}"

    def add(self, done: Done) -> None:
        """Write down what was done; it is on the disk afterwards.

        Raises:
            OSError: the folder cannot be written.
        """
        self.done[done.name] = done
        document = {
            "format": FORMAT,
            "version": VERSION,
            "key": self._key,
            "done": [one.to_json() for one in self.done.values()],
        }
        content = json.dumps(document, indent=2, allow_nan=False) + "\n"
        write_atomically(self.folder / FILE, content.encode())

    def _read(self, now: datetime) -> dict[str, Done]:
        """What is done; RadioError where the file is damaged, of another key or long ago."""
        root = JsonObject.read(self.folder / FILE)
        root.require("format", FORMAT)
        root.require("version", VERSION)
        before = root.object("key").values
        for name in {**before, **self._key}:
            old, new = before.get(name), self._key.get(name)
            if old != new:
                # Settings and knowledge are too long to be read.
                told = "" if isinstance(old, dict) else f": {old!r:.200}, not {new!r:.200}"
                raise RadioError(f"{root.file} is of another {name}{told}")
        done = [Done.from_json(keys) for keys in root.objects("done")]
        for one in done:
            if not timedelta(0) <= now - one.at + SOON < LASTS:
                raise RadioError(
                    f"{root.file}: {one.name} was done at {one.at.isoformat()}, and it is "
                    f"{now.isoformat(timespec='seconds')}: cables and temperatures may have changed"
                )
        return {one.name: one for one in done if self._has(one)}

    def _has(self, done: Done) -> bool:
        """Whether the recordings are still there."""
        return all((self.folder / name).is_file() for name in done.captures)
