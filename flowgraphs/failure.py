"""Why a flowgraph failed, from what its process said last."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

# A line of generated code in a trace back.
_MAKES = re.compile(r"\s+self\.(\w+) = (.*)")


def reason(lines: Sequence[str], code: int, values: Mapping[str, object]) -> str:
    """What went wrong, and at which block where that is known.

    Args:
        lines: of its log.
        code: that its process ended with.
        values: of all its parameters.
    """
    said = [line for line in lines if line.strip()]
    why = _error(said) or f"it ended with {code} and said nothing"
    if re.search("address (already )?in use", why, re.IGNORECASE):
        why = f"the address is taken ({why}); choose another one"
    made = [found for found in map(_MAKES.match, said) if found]
    where = f" at its block {made[-1][1]}{_told(made[-1][2], why, values)}" if made else ""
    return f"failed{where}: {why}"


def _told(code: str, why: str, values: Mapping[str, object]) -> str:
    """The parameters in a piece of generated code, where a reason names none of them."""
    names = [name for name in values if re.search(rf"\b{name}\b", code)]
    if not names or any(name in why for name in names):
        return ""
    return f" ({', '.join(f'{name} = {values[name]!r}' for name in names)})"


def _error(said: Sequence[str]) -> str:
    """What a trace back ends with, in a line, or else the last line."""
    last = max((i for i, line in enumerate(said) if line.startswith("Traceback")), default=None)
    if last is None:
        return said[-1] if said else ""
    ends = [i for i in range(last + 1, len(said)) if not said[i].startswith(" ")]
    return " ".join(" ".join(said[ends[0] if ends else last :]).split())
