"""What a converter makes of samples."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from radio.api import IQ


def converted(iq: IQ) -> tuple[IQ, int]:
    """What a converter of full scale 1.0 makes of samples, and how many it clipped."""
    clipped = int(np.count_nonzero(beyond(iq)))
    parts = np.ascontiguousarray(iq).view(np.float32)
    return np.clip(parts, -1.0, 1.0).view(np.complex64), clipped


def beyond(iq: IQ) -> npt.NDArray[np.bool_]:
    """Which samples are beyond full scale 1.0 in I or Q, [n]."""
    outside = np.abs(np.ascontiguousarray(iq).view(np.float32)) > 1.0
    return outside[::2] | outside[1::2]
