"""What a process of ours logs, logged in the one that started it."""

from __future__ import annotations

import json
import logging
import re
from typing import IO

LEVELS = {"FATAL": 50, "ERROR": 40, "WARNING": 30, "INFO": 20, "DEBUG": 10, "TRACE": 10}
# [WARNING] [MULTI_USRP] text, and the same with a time, as libuhd and SoapySDR print it.
_VENDOR = re.compile(rf"\[({'|'.join(LEVELS)})\] (?:\[[\w:. ]+\] )?(.*)")


class RelayHandler(logging.Handler):
    """Writes records as lines, for `relay` at the other end."""

    def __init__(self, lines: IO[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Write one; to an end that is gone, nothing."""
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        told = {"level": record.levelno, "name": record.name, "text": text}
        try:
            self._lines.write(json.dumps(told) + "\n")
            self._lines.flush()
        except OSError:
            self.handleError(record)


def relay(line: str, source: str) -> None:
    """Log a line: a record of `RelayHandler`, or what a library of the vendor's printed.

    Args:
        line: as it came.
        source: name of the logger of what is no record.
    """
    text = line.strip()
    if text.startswith("{"):
        try:
            told = json.loads(text)
            logging.getLogger(told["name"]).log(told["level"], "%s", told["text"])
            return
        except (ValueError, KeyError, TypeError):
            pass
    vendor = _VENDOR.fullmatch(text)
    level, said = (LEVELS[vendor[1]], vendor[2]) if vendor else (logging.WARNING, text)
    if said:
        logging.getLogger(source).log(level, "%s", said)
