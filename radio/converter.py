"""What a converter makes of samples."""

from __future__ import annotations

import numpy as np

from radio.api import IQ


def converted(iq: IQ) -> tuple[IQ, int]:
    """What a converter of full scale 1.0 makes of samples, and how many it clipped."""
    parts = np.ascontiguousarray(iq).view(np.float32).reshape(-1, 2)
    clipped = int(np.count_nonzero((np.abs(parts) > 1.0).any(axis=1)))
    return np.clip(parts, -1.0, 1.0).reshape(-1).view(np.complex64), clipped
