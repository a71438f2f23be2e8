"""Reading a lip–voice similarity curve: where it peaks is the offset, how far it stands out is the certainty that both belong together."""

import numpy as np
from numpy.typing import NDArray

STEP_S = 0.04  # one picture at 25 Hz
MAX_LAG_STEPS = 30  # ±1.2 s
LAGS = 2 * MAX_LAG_STEPS + 1


def similarity_curve(lips: NDArray[np.float32], voice: NDArray[np.float32], speaking: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Mean cosine similarity of lips now and voice `lag` steps later, float32 [61] for lags −30…+30; NaN where too little overlaps.

    `lips`, `voice`: float32 [steps, D], unit length. `speaking`: bool [steps], where the voice counts. A positive lag means late sound.
    """
    product = lips @ voice.T
    curve = np.full(LAGS, np.nan, np.float32)
    for index, lag in enumerate(range(-MAX_LAG_STEPS, MAX_LAG_STEPS + 1)):
        along = np.diagonal(product, lag)
        counts = speaking[lag : lag + len(along)] if lag >= 0 else speaking[: len(along)]
        if counts.sum() >= 10:
            curve[index] = along[counts].mean()
    return curve


def peak(curve: NDArray[np.float32]) -> tuple[float, float]:
    """(offset in seconds, positive when the sound is late; confidence = peak − median). (0, 0) for a curve without values."""
    if np.isnan(curve).all():
        return 0.0, 0.0
    top = int(np.nanargmax(curve))
    shift = 0.0
    if 0 < top < len(curve) - 1:
        left, mid, right = (float(value) for value in curve[top - 1 : top + 2])
        bend = left - 2 * mid + right
        shift = 0.5 * (left - right) / bend if bend < 0 else 0.0  # NaN neighbours compare false
    return (top - MAX_LAG_STEPS + shift) * STEP_S, float(curve[top] - np.nanmedian(curve))
